package tlsport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/rollcallhq/rollcall/certs"
)

// Why a handshake failed, besides the reasons of package certs. The words are labels of a metric.
const (
	ReasonPlainText = "plain_text" // plain text where TLS is required
	ReasonRefused   = "refused"    // the other side does not accept this node's certificate
	ReasonCrowded   = "crowded"    // too many handshakes at once
	ReasonTimeout   = "timeout"    // the other side did not go on
	ReasonClosed    = "closed"     // the other side ended the connection
	ReasonProtocol  = "protocol"   // no version or protocol in common, or no TLS
)

// HandshakeError is a handshake that failed. Its text says why, in plain words.
type HandshakeError struct {
	Reason string // one of the constants, or of those of package certs
	text   string
	err    error
}

// Error implements error.
func (e *HandshakeError) Error() string { return e.text }

// Unwrap returns what crypto/tls or the network said.
func (e *HandshakeError) Unwrap() error { return e.err }

var (
	errPlainText = errors.New("plain text came, and this port needs TLS")
	errCrowded   = errors.New("too many TLS handshakes at once")
	errProtocol  = errors.New("the other side wants to speak another protocol over TLS; is it the right port?")
)

// own are this package's errors.
var own = map[error]string{errPlainText: ReasonPlainText, errCrowded: ReasonCrowded, errProtocol: ReasonProtocol, errTooLarge: ReasonProtocol}

// alerts are what the other side may say to end a handshake, as crypto/tls words it, and what that means. TLS carries
// no more than such a word.
var alerts = map[string]struct{ reason, text string }{
	"bad certificate":                {ReasonRefused, refusesOurs},
	"unsupported certificate":        {ReasonRefused, refusesOurs},
	"revoked certificate":            {ReasonRefused, refusesOurs},
	"expired certificate":            {ReasonRefused, "the other side says that this node's certificate has expired"},
	"unknown certificate":            {ReasonRefused, refusesOurs},
	"unknown certificate authority":  {ReasonRefused, "the other side does not trust the CA of this node's certificate"},
	"access denied":                  {ReasonRefused, refusesOurs},
	"certificate required":           {ReasonRefused, "the other side wants a certificate"},
	"protocol version not supported": {ReasonProtocol, "the other side does not speak TLS 1.3"},
	"no application protocol":        {ReasonProtocol, "the other side speaks another protocol over TLS; is it the right port?"},
}

const refusesOurs = "the other side does not accept this node's certificate; its log says why"

// noClientCertificate is what crypto/tls says, and has no type for.
const noClientCertificate = "tls: client didn't provide a certificate"

// newHandshakeError returns err in plain words.
func newHandshakeError(err error) *HandshakeError {
	var (
		known   *HandshakeError
		refusal *certs.Refusal
		network *net.OpError
		record  tls.RecordHeaderError
		timeout net.Error
	)
	failure := func(reason, text string) *HandshakeError { return &HandshakeError{reason, text, err} }
	switch {
	case errors.As(err, &known):
		return known
	case own[err] != "":
		return failure(own[err], err.Error())
	case errors.As(err, &refusal):
		return failure(refusal.Reason, refusal.Error())
	case err.Error() == noClientCertificate:
		return failure(certs.ReasonNoCertificate, "the other side shows no certificate")
	case errors.As(err, &network) && network.Op == "remote error":
		word := strings.TrimPrefix(network.Err.Error(), "tls: ")
		if a, ok := alerts[word]; ok {
			return failure(a.reason, a.text)
		}
		return failure(ReasonProtocol, "the other side ended the TLS handshake: "+word)
	case errors.As(err, &record):
		return failure(ReasonProtocol, "the other side does not speak TLS")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return failure(ReasonTimeout, "the other side did not finish the TLS handshake in time")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return failure(ReasonClosed, "the other side closed the connection during the TLS handshake; does it speak TLS?")
	}
	return failure(ReasonProtocol, "the TLS handshake failed: "+strings.TrimPrefix(err.Error(), "tls: "))
}

// byStranger says whether a failure is of the kind that scanners and broken connections cause: nobody need act.
func (e *HandshakeError) byStranger() bool {
	switch e.Reason {
	case ReasonTimeout, ReasonClosed, ReasonProtocol:
		return true
	}
	return false
}
