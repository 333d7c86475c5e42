package format

import (
	"io"
	"os"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"golang.org/x/term"
)

// Tone is what a text means to the eye.
type Tone int

// The worse, the more a tone stands out.
const (
	Plain Tone = iota
	Good
	Faint // it does not count any more
	Doubtful
	Bad
)

// Cell is a text of a table with its tone.
type Cell struct {
	Text string
	Tone Tone
}

// Cells are plain texts.
func Cells(texts ...string) []Cell {
	cells := make([]Cell, len(texts))
	for i, t := range texts {
		cells[i].Text = t
	}
	return cells
}

// Paint returns text in a tone, as a terminal shows it. text is printable already.
func Paint(text string, t Tone) string {
	code := map[Tone]string{Good: "32", Faint: "2", Doubtful: "33", Bad: "1;31"}[t]
	if code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// StatusTone is the tone of a status.
func StatusTone(s healthpb.HealthCheckResponse_ServingStatus) Tone {
	switch s {
	case healthpb.HealthCheckResponse_SERVING:
		return Good
	case healthpb.HealthCheckResponse_NOT_SERVING:
		return Bad
	case healthpb.HealthCheckResponse_SERVICE_UNKNOWN:
		return Faint
	}
	return Doubtful
}

// IsTerminal reports whether w is a terminal that can write over a line, and in colours.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}
