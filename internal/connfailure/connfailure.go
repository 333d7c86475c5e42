package connfailure

import (
	"regexp"
	"strings"
)

// Words for what several causes lead to.
const (
	speaksOther  = "it does not speak gRPC: does it need TLS, or is this an HTTP port?"
	closedAtOnce = "it closed the connection at once: does it need TLS, or is this a peer port?"
	saysNothing  = "it accepts connections and says nothing; is this the API port of a node?"
	broke        = "the connection broke"
	unknownHost  = "the host is not known"
	noPort       = "the port is not a number from 1 to 65535"
	notHostPort  = "it is not host:port"
)

// causes are what gRPC's texts hold, and what that means. The first that is found counts.
var causes = []struct {
	holds []string // all of these
	means string
}{
	{[]string{"remote error: tls: certificate required"}, "it asks for a certificate"},
	{[]string{"remote error: tls: unknown certificate authority"}, "it does not trust the CA of the certificate that is shown"},
	{[]string{"remote error: tls: expired certificate"}, "the certificate that is shown has expired"},
	{[]string{"remote error: tls: bad certificate"}, "it does not accept the certificate that is shown; its log says why"},
	{[]string{"server preface", "frame too large"}, speaksOther},
	{[]string{"server preface", "malformed HTTP"}, speaksOther},
	{[]string{"server preface", "http2:"}, speaksOther},
	{[]string{"server preface", "timeout"}, saysNothing},
	{[]string{"server preface", "deadline exceeded"}, saysNothing},
	{[]string{"server preface"}, closedAtOnce},
	{[]string{"failed to write client preface"}, closedAtOnce},
	{[]string{"unexpected HTTP status code"}, speaksOther},
	{[]string{"unexpected content-type"}, speaksOther},
	{[]string{"missing HTTP content-type"}, speaksOther},
	{[]string{"malformed header"}, speaksOther},
	{[]string{"x509:", "unknown authority"}, "its certificate is signed by an authority that is not trusted here"},
	{[]string{"x509:", "has expired or is not yet valid"}, "its certificate has expired, or is not valid yet"},
	{[]string{"x509:", "certificate is valid for"}, "its certificate is for another name"},
	{[]string{"x509:", "cannot validate certificate for"}, "its certificate is for another name"},
	{[]string{"x509:"}, "its certificate is not accepted"},
	{[]string{"first record does not look like a TLS handshake"}, "it does not speak TLS there"},
	{[]string{"tls:", "certificate required"}, "it asks for a certificate"},
	{[]string{"tls:"}, "TLS could not be agreed on"},
	{[]string{"connection refused"}, "connection refused"},
	{[]string{"no such host"}, unknownHost},
	{[]string{"produced zero addresses"}, unknownHost},
	{[]string{"lookup error"}, unknownHost},
	{[]string{"server misbehaving"}, "the name server does not answer for the host"},
	{[]string{"network is unreachable"}, "the network cannot be reached"},
	{[]string{"no route to host"}, "there is no way to the host"},
	{[]string{"dial", "i/o timeout"}, "no answer: the host may be down, or a firewall between"},
	{[]string{"invalid port"}, noPort},
	{[]string{"unknown port"}, noPort},
	{[]string{"too many colons in address"}, notHostPort},
	{[]string{"missing port in address"}, notHostPort},
	{[]string{"missing address"}, notHostPort},
	{[]string{"no such file or directory"}, "the socket does not exist"},
	{[]string{"unknown service rollcall."}, "it speaks gRPC and is no node of Rollcall, or an older one"},
	{[]string{"unknown service grpc.health"}, "it speaks gRPC and does not serve grpc.health.v1"},
	{[]string{"unknown method"}, "it does not know this call: an older version, perhaps"},
	{[]string{"goaway"}, "the node ended the connection"},
	{[]string{"GOAWAY"}, "the node ended the connection"},
	{[]string{"RST_STREAM"}, "the node ended the call"},
	{[]string{"broken pipe"}, broke},
	{[]string{"connection reset by peer"}, broke},
	{[]string{"use of closed network connection"}, broke},
	{[]string{"error reading from server"}, broke},
	{[]string{"transport is closing"}, broke},
	{[]string{"keepalive ping failed"}, "the node answered no more"},
	{[]string{"connection error", "EOF"}, broke},
	{[]string{"received message larger than max"}, "its answer is too large"},
	{[]string{"LB policy update"}, "no connection in time"},
	{[]string{"deadline exceeded"}, "no answer in time"},
	{[]string{"context canceled"}, "interrupted"},
	{[]string{"grpc: the client connection is closing"}, "the connection was closed here"},
}

// gRPC's and Go's words around a cause that is not known.
var (
	wrapping = regexp.MustCompile(`^(?:.*(?:connection error|rpc error)[^"]*desc = "?|.*Error while dialing: |transport: |delegating_resolver: |authentication handshake failed: )`)
	socket   = regexp.MustCompile(`^(?:dial|read|write) (?:tcp|unix)[46]? \S+?: (?:(?:connect|read|write): )?`)
)

// Text returns what message says, in plain words.
func Text(message string) string {
	for _, c := range causes {
		if all(message, c.holds) {
			return c.means
		}
	}
	if strings.Contains(message, `desc = "`) {
		message = strings.ReplaceAll(strings.TrimSuffix(message, `"`), `\"`, `"`)
	}
	for wrapping.MatchString(message) {
		message = wrapping.ReplaceAllString(message, "")
	}
	return socket.ReplaceAllString(message, "")
}

func all(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
