package cluster_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// sseEvent is one server-sent event.
type sseEvent struct {
	name, id string
	data     []byte
}

// sseReader is a stream over HTTP that is open.
type sseReader struct {
	t      testing.TB
	res    *http.Response
	lines  *bufio.Reader
	bytes  *counting // of the body, as it came
	cancel context.CancelFunc
}

// counting counts what is read.
type counting struct {
	io.Reader
	n atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// openSSE opens a stream, which goes on after the event called last; "" begins. gzipped: it is compressed.
func openSSE(t testing.TB, url, last string, gzipped bool) *sseReader {
	t.Helper()
	return openSSEBy(t, &http.Transport{DisableKeepAlives: true}, url, last, gzipped)
}

func openSSEBy(t testing.TB, transport *http.Transport, url, last string, gzipped bool) *sseReader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	if gzipped {
		req.Header.Set("Accept-Encoding", "gzip") // so net/http leaves the body as it is
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	r := &sseReader{t: t, res: res, bytes: &counting{Reader: res.Body}, cancel: cancel}
	t.Cleanup(r.close)
	body := io.Reader(r.bytes)
	if gzipped {
		if body, err = gzip.NewReader(body); err != nil {
			t.Fatalf("%s: %v", res.Status, err)
		}
	}
	r.lines = bufio.NewReader(body)
	return r
}

func (r *sseReader) close() {
	r.cancel()
	r.res.Body.Close()
}

// next returns the next event, without comments.
func (r *sseReader) next() (e sseEvent, err error) {
	for {
		line, err := r.lines.ReadSlice('\n')
		var long []byte
		for err == bufio.ErrBufferFull {
			long = append(long, line...)
			line, err = r.lines.ReadSlice('\n')
		}
		if err != nil {
			return e, err
		}
		if long != nil {
			line = append(long, line...)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ": ")
		switch {
		case field == "event":
			e.name = value
		case field == "id":
			e.id = value
		case field == "data":
			e.data = []byte(value)
		case field == "" && e.name != "":
			return e, nil
		}
	}
}

// sseServices is the data of an event "services".
type sseServices struct {
	Services []struct{ Service, Status string }
	Deleted  []string
	Revision int64
	Synced   bool
	Resumed  bool
}

// sseState is what somebody makes of a stream of services.
type sseState struct {
	statuses map[string]string
	id       string
	resumed  bool
	records  int // that were sent since the stream was opened
}

// read takes events until the state is synced at a revision, or later.
func (s *sseState) read(r *sseReader, revision int64) {
	r.t.Helper()
	for {
		e, err := r.next()
		if err != nil {
			r.t.Fatalf("%s: %v", r.res.Status, err)
		}
		var m sseServices
		if err := json.Unmarshal(e.data, &m); err != nil {
			r.t.Fatalf("%s %s: %v", e.name, e.data, err)
		}
		switch e.name {
		case "open":
			s.records = 0
			if s.resumed = m.Resumed; !m.Resumed {
				s.statuses = map[string]string{}
			}
			continue
		case "error":
			r.t.Fatalf("%s", e.data)
		}
		for _, one := range m.Services {
			s.statuses[one.Service] = one.Status
		}
		for _, name := range m.Deleted {
			delete(s.statuses, name)
		}
		s.records += len(m.Services) + len(m.Deleted)
		if e.id != "" {
			s.id = e.id
		}
		if m.Synced && m.Revision >= revision {
			return
		}
	}
}
