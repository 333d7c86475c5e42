package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/plain"
	"github.com/rollcallhq/rollcall/node/survivor"
	"github.com/rollcallhq/rollcall/store"
)

type survivorMember = survivor.Member

// survivorReport is what is left of a node, in JSON.
type survivorReport struct {
	Data        string   `json:"data"`
	Node        string   `json:"node"`
	ClusterID   string   `json:"cluster_id"`
	DirectoryID string   `json:"directory_id"`
	Term        uint64   `json:"term"`
	Index       uint64   `json:"index"`
	Revision    int64    `json:"revision"`
	Committed   int64    `json:"committed_revision"` // known to be committed
	Known       uint64   `json:"committed_index"`
	Written     string   `json:"written"` // log time of the last change
	LogStore    string   `json:"log_store"`
	Voters      []string `json:"voters"`
	Votes       bool     `json:"votes"`
	KeptFor     string   `json:"kept_for"` // the directory that was made of this one, which does not count then
	Notes       []string `json:"notes"`
	Missing     []string `json:"missing"`
	Error       string   `json:"error"` // nothing could be read

	written time.Time
}

type choiceReport struct {
	ClusterID string `json:"cluster_id"`
	Node      string `json:"node"`
	Data      string `json:"data"`
	Why       string `json:"why"`
	Majority  string `json:"majority"`
	Recovered string `json:"recovered"`
}

func surveyed(s *survivor.Survivor) survivorReport {
	r := survivorReport{
		Data: s.Path, Node: s.Node, ClusterID: s.ClusterID, DirectoryID: s.Directory, Term: s.Last.Term, Index: s.Last.Index,
		Revision: s.Last.Revision, Committed: s.Committed.Revision, Known: s.Committed.Index,
		LogStore: string(s.LogKind), Voters: append([]string{}, s.Voters()...), Votes: s.Voter(), Notes: plainAll(s.Notes), Missing: plainAll(s.Missing),
		written: s.Last.Time,
	}
	if !s.Last.Time.IsZero() {
		r.Written = s.Last.Time.Format(time.RFC3339Nano)
	}
	return r
}

var survivorColumns = []column[survivorReport]{
	{header: "NODE", cell: func(_ view, s survivorReport) format.Cell { return text(format.OrDash(s.Node)) }},
	{header: "CLUSTER", cell: func(_ view, s survivorReport) format.Cell { return text(format.OrDash(shortID(s.ClusterID))) }},
	{header: "DIRECTORY", cell: func(_ view, s survivorReport) format.Cell {
		return text(format.OrDash(s.DirectoryID[:min(len(s.DirectoryID), 8)]))
	}},
	{header: "VOTES", cell: func(_ view, s survivorReport) format.Cell {
		switch {
		case s.Error != "":
			return text("-")
		case s.KeptFor != "":
			return text("kept")
		case s.Votes:
			return text("yes")
		}
		return text("no")
	}},
	{header: "TERM", cell: func(_ view, s survivorReport) format.Cell { return numberOrDash(s, s.Term) }},
	{header: "ENTRY", cell: func(_ view, s survivorReport) format.Cell { return numberOrDash(s, s.Index) }},
	{header: "REVISION", cell: func(_ view, s survivorReport) format.Cell { return numberOrDash(s, uint64(s.Revision)) }},
	{header: "COMMITTED", cell: func(_ view, s survivorReport) format.Cell { return numberOrDash(s, uint64(s.Committed)) }},
	{header: "WRITTEN", cell: func(v view, s survivorReport) format.Cell {
		if s.written.IsZero() {
			return text("-")
		}
		return text(v.local(s.written))
	}},
	{header: "DAMAGE", cell: func(_ view, s survivorReport) format.Cell {
		switch {
		case s.Error != "":
			return format.Cell{Text: "NOT READ", Tone: format.Bad}
		case len(s.Missing) > 0:
			return format.Cell{Text: "MISSING", Tone: format.Bad}
		case len(s.Notes) > 0:
			return text("mended")
		}
		return text("-")
	}},
	{header: "DATA", cell: func(_ view, s survivorReport) format.Cell { return text(format.Printable(s.Data)) }},
}

func numberOrDash(s survivorReport, n uint64) format.Cell {
	if s.Error != "" {
		return text("-")
	}
	return text(fmt.Sprint(n))
}

// inspectSurvivors compares what is left of nodes.
func (a *app) inspectSurvivors(paths []string) error {
	if len(paths) == 0 {
		return withNext(invalid("recover --inspect needs directories"), `see "rollcall recover --help"`)
	}
	var (
		found []*survivor.Survivor
		out   = struct {
			Survivors []survivorReport `json:"survivors"`
			Choices   []choiceReport   `json:"choices"`
		}{Choices: []choiceReport{}}
	)
	var running, again int
	for i, path := range paths {
		if path == "" {
			return invalid("the name of a directory is empty")
		}
		if slices.ContainsFunc(paths[:i], func(earlier string) bool { return sameDirectory(earlier, path) }) {
			again++
			continue
		}
		s, err := survivor.Read(path, nil)
		if err != nil {
			message := plain.Text(err.Error())
			if errors.Is(err, store.ErrInUse) {
				running++
				message = "a node runs on it: stop it first, and it is compared with the others"
			}
			out.Survivors = append(out.Survivors, survivorReport{Data: path, Voters: []string{}, Notes: []string{}, Missing: []string{}, Error: message})
			continue
		}
		if err := s.Close(); err != nil {
			return survivorFailure(err, "")
		}
		found = append(found, s)
		out.Survivors = append(out.Survivors, surveyed(s))
	}
	for s, of := range survivor.Kept(found) {
		i := slices.IndexFunc(out.Survivors, func(r survivorReport) bool { return r.Data == s.Path })
		out.Survivors[i].KeptFor = of
	}
	for _, c := range survivor.Choose(found) {
		out.Choices = append(out.Choices, choiceReport{c.ClusterID, c.Best.Node, c.Best.Path, c.Why, c.Majority, c.Recovered})
	}
	err := a.printObject(out, func() error {
		if err := a.writeSurvivors(out.Survivors, out.Choices); err != nil || again == 0 {
			return err
		}
		_, err := fmt.Fprintf(a.stdout, "%s named more than once\n", format.Count(again, "directory was", "directories were"))
		return err
	})
	if len(found) == 0 {
		f := &failure{exit: exitNotDone, code: codes.DataLoss, reason: reasonDamaged, err: errors.New("none of them can be read"), next: "use a backup"}
		if running > 0 {
			f.code, f.reason, f.next = codes.FailedPrecondition, reasonDisk, "stop the nodes that run first; while a majority of the members can run, nothing has to be recovered"
		}
		err = errors.Join(err, f)
	}
	return err
}

// sameDirectory reports whether two names are of one directory.
func sameDirectory(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return a == b
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

func (a *app) writeSurvivors(survivors []survivorReport, choices []choiceReport) error {
	if err := newGrid(a, survivorColumns).write(survivors); err != nil {
		return err
	}
	unread := 0
	for _, s := range survivors {
		for _, note := range s.Notes {
			if _, err := fmt.Fprintf(a.stdout, "note: %s\n", format.Printable(format.OneLine(note))); err != nil {
				return err
			}
		}
		problems := s.Missing
		if s.Error != "" {
			problems = []string{s.Error}
			unread++
		}
		if s.KeptFor != "" {
			line := fmt.Sprintf("%s is the old directory that the recovery of %s has kept, and does not count; if the node that is in %[2]s is lost, too, give this one its name back", s.Data, s.KeptFor)
			if _, err := fmt.Fprintln(a.stdout, format.Printable(line)); err != nil {
				return err
			}
		}
		for _, p := range problems {
			if err := a.writeProblem(s.Data + ": " + p); err != nil {
				return err
			}
		}
	}
	clusters := 0 // of those that were not recovered
	for _, c := range choices {
		if c.Recovered == "" {
			clusters++
		}
	}
	if clusters > 1 {
		if _, err := fmt.Fprintf(a.stdout, "they are of %d clusters: only one of them can be yours\n", clusters); err != nil {
			return err
		}
	}
	for _, c := range choices {
		line := fmt.Sprintf("of cluster %s, recover %s (%s): %s", shortID(c.ClusterID), nodeOr(c.Node), c.Data, c.Why)
		switch {
		case c.Recovered != "":
			line = fmt.Sprintf("of cluster %s: %s", shortID(c.ClusterID), c.Recovered)
		case c.Majority != "":
			line = fmt.Sprintf("of cluster %s, %s", shortID(c.ClusterID), c.Majority)
		}
		if _, err := fmt.Fprintln(a.stdout, format.Printable(line)); err != nil {
			return err
		}
	}
	if unread > 0 && len(choices) > 0 {
		if _, err := fmt.Fprintf(a.stdout, "%s not read, and may have more\n", format.Count(unread, "directory was", "directories were")); err != nil {
			return err
		}
	}
	return nil
}
