package connfailure

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The texts are what gRPC v1.85 said when it was tried.
func TestText(t *testing.T) {
	for in, want := range map[string]string{
		`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`:                                                                        "connection refused",
		`connection error: desc = "error reading server preface: http2: frame too large"`:                                                                                                     speaksOther,
		`connection error: desc = "error reading server preface: http2: failed reading the frame payload: http2: frame too large, note that the frame header looked like an HTTP/1.1 header"`: speaksOther,
		`connection error: desc = "error reading server preface: connection reset by peer"`:                                                                                                   closedAtOnce,
		`connection error: desc = "error reading server preface: EOF"`:                                                                                                                        closedAtOnce,
		`connection error: desc = "error reading server preface: read tcp 127.0.0.1:1->127.0.0.1:2: i/o timeout"`:                                                                             saysNothing,
		`connection error: desc = "transport: failed to write client preface: write tcp 127.0.0.1:59058->127.0.0.1:21705: write: broken pipe"`:                                                closedAtOnce,
		"name resolver error: produced zero addresses":                                                                                                                                        unknownHost,
		`connection error: desc = "transport: Error while dialing: dial tcp: lookup nohost on 127.0.0.53:53: no such host"`:                                                                   unknownHost,
		`connection error: desc = "transport: Error while dialing: dial tcp: address 99999: invalid port"`:                                                                                    noPort,
		"invalid target address a:b:c, error info: address a:b:c:443: too many colons in address":                                                                                             notHostPort,
		`delegating_resolver: invalid target address "": missing address`:                                                                                                                     notHostPort,
		`connection error: desc = "transport: authentication handshake failed: tls: first record does not look like a TLS handshake"`:                                                         "it does not speak TLS there",
		`connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"`:                             "its certificate is signed by an authority that is not trusted here",
		`connection error: desc = "transport: authentication handshake failed: the certificate of \"n1\" is not for the name \"n2\""`:                                                         `the certificate of "n1" is not for the name "n2"`,
		`connection error: desc = "error reading server preface: remote error: tls: bad certificate"`:                                                                                         "it does not accept the certificate that is shown; its log says why",
		`connection error: desc = "error reading server preface: remote error: tls: certificate required"`:                                                                                    "it asks for a certificate",
		"error reading from server: EOF": broke,
		"received context error while waiting for new LB policy update: context deadline exceeded": "no connection in time",
		"context deadline exceeded":                               "no answer in time",
		"stream terminated by RST_STREAM with error code: CANCEL": "the node ended the call",
		"unknown service rollcall.v1.Registry":                    "it speaks gRPC and is no node of Rollcall, or an older one",
		"unexpected HTTP status code received from server: 404 (Not Found); transport: received unexpected content-type \"text/html\"": speaksOther,
		`connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.1:7600: connect: host is down"`:                     "host is down",
		"no connection within 2s": "no connection within 2s",
		`a node says "x"`:         `a node says "x"`,
		"write tcp 1.2.3.4:5->6.7.8.9:10: write: no buffer space available": "no buffer space available",
	} {
		if got := Text(in); got != want {
			t.Errorf("%s:\n%s, want\n%s", in, got, want)
		}
	}
}
