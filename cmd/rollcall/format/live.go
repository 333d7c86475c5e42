package format

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const eraseLine = "\r\x1b[K"

// LiveLine writes line to w once a second, each over the one before. The returned function ends that and
// erases the line. Only a terminal can show it: see IsTerminal.
func LiveLine(w io.Writer, line func(elapsed time.Duration) string) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprint(w, eraseLine+line(time.Since(start)))
			case <-end:
				fmt.Fprint(w, eraseLine)
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// ProgressBar shows how much of something is done, on one line that is written again and again.
type ProgressBar struct {
	W     io.Writer
	Shown bool // false: it writes nothing

	last  time.Time
	drawn bool
}

// Update shows that done of total bytes are done.
func (b *ProgressBar) Update(done, total int64) {
	const width, every = 30, 100 * time.Millisecond
	if !b.Shown || total <= 0 || done < total && time.Since(b.last) < every {
		return
	}
	b.last, b.drawn = time.Now(), true
	full := int(width * done / total)
	fmt.Fprintf(b.W, "\r[%s%s] %3d%%  %.1f of %.1f MiB", strings.Repeat("=", full), strings.Repeat(" ", width-full),
		100*done/total, Mebibytes(done), Mebibytes(total))
}

// End leaves the line.
func (b *ProgressBar) End() {
	if b.drawn {
		fmt.Fprintln(b.W)
	}
}
