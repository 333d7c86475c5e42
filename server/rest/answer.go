package rest

import (
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// stallTime is how long a client may take for each writeBytes of an answer. A slow one gets even the largest page.
	stallTime  = 10 * time.Second
	writeBytes = 64 << 10
	// gzipBytes is the size from which on an answer is compressed, if its client takes that.
	gzipBytes = 2 << 10
	// maxGzippers bounds the memory of those who compress, about a megabyte each. Beyond it answers are not compressed.
	maxGzippers = 8
)

// answer writes the answer to a request: compressed if that is of use, and as long as the client goes on reading.
type answer struct {
	call    *call
	w       http.ResponseWriter
	control *http.ResponseController
	code    int // 0: nothing has been written
}

// protect sets the headers of all answers.
func (a *answer) protect() {
	h := a.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Vary", "Accept-Encoding")
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.w.Header() }

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.w }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	if a.code == 0 {
		a.code = code
	}
	a.w.WriteHeader(code)
}

// Write implements http.ResponseWriter. Whoever makes a stream writes to what Unwrap returns.
func (a *answer) Write(p []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	for n := 0; n < len(p); {
		if err := AllowWrite(a.call.ctx, a.call.handler.stall); err != nil {
			return n, err
		}
		m, err := a.w.Write(p[n:min(n+writeBytes, len(p))])
		if n += m; err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// send writes a whole answer in JSON.
func (a *answer) send(code int, body []byte) error {
	h := a.Header()
	h.Set("Content-Type", "application/json")
	if len(body) >= gzipBytes && AcceptsGzip(a.call.req) {
		if z := a.call.handler.gzipper(); z != nil {
			defer a.call.handler.freeGzipper(z)
			h.Set("Content-Encoding", "gzip")
			a.WriteHeader(code)
			return z.send(a, body)
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	a.WriteHeader(code)
	_, err := a.Write(body)
	return err
}

// AcceptsGzip says whether a client takes an answer that gzip has compressed.
func AcceptsGzip(r *http.Request) bool {
	for _, value := range r.Header.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(value, ",") {
			name, quality, _ := strings.Cut(coding, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			_, weight, weighted := strings.Cut(quality, "=")
			q, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
			return !weighted || err == nil && q > 0
		}
	}
	return false
}

// gzipper compresses one answer at a time.
type gzipper struct{ w *gzip.Writer }

// newGzippers returns as many as there may be. None takes memory before it is used.
func newGzippers() chan *gzipper {
	all := make(chan *gzipper, maxGzippers)
	for range maxGzippers {
		all <- &gzipper{}
	}
	return all
}

// gzipper returns one that is free; nil if none is.
func (h *Handler) gzipper() *gzipper {
	select {
	case z := <-h.gzips:
		return z
	default:
		return nil
	}
}

func (h *Handler) freeGzipper(z *gzipper) { h.gzips <- z }

func (z *gzipper) send(to *answer, body []byte) error {
	if z.w == nil {
		w, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
		if err != nil {
			return err
		}
		z.w = w
	} else {
		z.w.Reset(to)
	}
	defer z.w.Reset(nil)
	if _, err := z.w.Write(body); err != nil {
		return err
	}
	return z.w.Close()
}
