package rest

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

const (
	// maxBody is the largest body of a request, as that of gRPC is.
	maxBody = 4 << 20
	// bodyTime is how long a client may take to send the body of a request. It holds memory meanwhile.
	bodyTime = 30 * time.Second
	// firstRead is how much is read of a body that may be larger. It grows with what has come.
	firstRead = 4 << 10
)

func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// readBody reads the body of the request. What has come of it counts, until the request ends.
func (c *call) readBody() error {
	if !hasBody(c.req) {
		return nil
	}
	if c.req.ContentLength > maxBody {
		return tooLarge()
	}
	_ = c.out.control.SetReadDeadline(time.Now().Add(bodyTime))
	size := firstRead
	if n := c.req.ContentLength; n > 0 && n < firstRead {
		size = int(n)
	}
	body := make([]byte, 0, size)
	for {
		if len(body) == cap(body) {
			body = append(make([]byte, 0, min(2*cap(body), maxBody+1)), body...)
		}
		if err := c.hold(int64(cap(body))); err != nil {
			return err
		}
		n, err := c.req.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case len(body) > maxBody:
			return tooLarge()
		case errors.Is(err, io.EOF):
			_ = c.out.control.SetReadDeadline(time.Time{})
			if c.wasCut.Load() {
				return rpcerror.ErrStopping.AsNotWritten()
			}
			c.body = body
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return refuse(http.StatusRequestTimeout, codes.DeadlineExceeded, ReasonBodyTimeout, "the body of the request did not come within %s; send it again", bodyTime)
		case err != nil:
			return rpcerror.Invalid(rpcerror.Violation{Field: "body", Description: "could not be read to its end; send the request again"}).AsNotWritten()
		}
	}
}

// hold takes from the budget what the body holds.
func (c *call) hold(bytes int64) error {
	more := bytes - c.held
	if more <= 0 {
		return nil
	}
	if f := c.handler.cfg.Bodies.Take(c.peer, more); f != nil {
		return f.AsNotWritten()
	}
	c.held = bytes
	return nil
}

func tooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, codes.ResourceExhausted, ReasonTooLarge,
		"the body of the request has more than %d bytes; send several requests", maxBody)
}
