package server

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"
)

// TestRESTDoesNotWaitForBodiesThatNeverCome: whoever announces a body and does not send it holds the connection for a
// bounded time, however the request is answered. Enough of such connections would keep the probes out.
func TestRESTDoesNotWaitForBodiesThatNeverCome(t *testing.T) {
	for name, request := range map[string]string{
		"a change that is refused": "POST /api/v1/rules HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n",
		"a change as a form":       "POST /api/v1/rules HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n",
		"a read":                   "GET /api/v1/whoami HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
		"a read in chunks":         "GET /api/v1/whoami HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
		"half a chunk":             "GET /api/v1/whoami HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
		"a stream":                 "GET /api/v1/services:watch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
		"no route":                 "GET /api/nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
		"a question for methods":   "OPTIONS /api/v1/services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
		"HEAD":                     "HEAD /api/v1/services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := single(t)
				l := bufconn.Listen(16 << 10)
				serveWeb(t, n, l)
				c, err := l.DialContext(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				began := time.Now()
				if err := c.SetDeadline(began.Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(c, request); err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(c)
				if took := time.Since(began); err != nil || took > time.Minute {
					t.Errorf("the connection was held for %v (%v); answer: %.200q", took, err, answer)
				}
			})
		})
	}
}
