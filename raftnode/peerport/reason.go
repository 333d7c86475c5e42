package peerport

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/rollcallhq/rollcall/tlsport"
)

// Reason shortens an error of a connection to what an operator needs, without what changes from
// one try to the next, so that a repetition is known as one.
func Reason(err error) string {
	var (
		several addressErrors
		silent  *noHelloError
		errno   syscall.Errno
		dns     *net.DNSError
		timeout net.Error

		handshake *tlsport.HandshakeError
	)
	switch {
	case errors.As(err, &several):
		return several.Error()
	case errors.As(err, &silent):
		return silent.Error()
	case errors.As(err, &handshake):
		return handshake.Error()
	case errors.As(err, &dns):
		return "host not found: " + dns.Name
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed the connection"
	}
	return err.Error()
}

// addressErrors is why none of several addresses of a peer will do.
type addressErrors []addressError

type addressError struct {
	address string
	err     error
}

func (e addressErrors) Error() string {
	parts := make([]string, len(e))
	for i, a := range e {
		parts[i] = Reason(a.err)
		if !strings.HasPrefix(parts[i], a.address) {
			parts[i] = a.address + ": " + parts[i]
		}
	}
	return strings.Join(parts, "; ")
}

func (e addressErrors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, a := range e {
		errs[i] = a.err
	}
	return errs
}
