package main

import (
	"errors"
	"fmt"
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
	for _, path := range paths {
		s, err := survivor.Read(path, nil)
		if err != nil {
			message := plain.Text(err.Error())
			if errors.Is(err, store.ErrInUse) {
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
	for _, c := range survivor.Choose(found) {
		out.Choices = append(out.Choices, choiceReport{c.ClusterID, c.Best.Node, c.Best.Path, c.Why, c.Majority})
	}
	err := a.printObject(out, func() error { return a.writeSurvivors(out.Survivors, out.Choices) })
	if len(found) == 0 {
		err = errors.Join(err, &failure{exit: exitNotDone, code: codes.DataLoss, reason: reasonDamaged, err: errors.New("none of them can be read"), next: "use a backup"})
	}
	return err
}

func (a *app) writeSurvivors(survivors []survivorReport, choices []choiceReport) error {
	if err := newGrid(a, survivorColumns).write(survivors); err != nil {
		return err
	}
	for _, s := range survivors {
		for _, note := range s.Notes {
			if _, err := fmt.Fprintf(a.stdout, "note: %s\n", format.Printable(format.OneLine(note))); err != nil {
				return err
			}
		}
		problems := s.Missing
		if s.Error != "" {
			problems = []string{s.Error}
		}
		for _, p := range problems {
			if err := a.writeProblem(s.Data + ": " + p); err != nil {
				return err
			}
		}
	}
	if len(choices) > 1 {
		if _, err := fmt.Fprintf(a.stdout, "they are of %d clusters: only one of them can be yours\n", len(choices)); err != nil {
			return err
		}
	}
	for _, c := range choices {
		line := fmt.Sprintf("of cluster %s, recover %s (%s): %s", shortID(c.ClusterID), nodeOr(c.Node), c.Data, c.Why)
		if c.Majority != "" {
			line = fmt.Sprintf("of cluster %s, %s", shortID(c.ClusterID), c.Majority)
		}
		if _, err := fmt.Fprintln(a.stdout, format.Printable(line)); err != nil {
			return err
		}
	}
	return nil
}
