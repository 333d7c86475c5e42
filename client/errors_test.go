package client_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

func TestErrorIsOneLine(t *testing.T) {
	tests := map[string]struct {
		err  client.Error
		want string
	}{
		"a refusal": {
			client.Error{Op: "set", Service: "a", Code: codes.NotFound, Message: "there is none", RequestID: "r", Endpoint: "n1"},
			"set a: there is none",
		},
		"trouble on the way": {
			client.Error{Op: "check", Service: "a", Code: codes.Unavailable, Message: "line\r\nbreak", Endpoint: "n1"},
			"check a: n1: line  break",
		},
		"no message": {
			client.Error{Op: "list", Code: codes.Internal},
			"list: Internal",
		},
		"a write not made": {
			client.Error{Op: "set", Service: "a", Code: codes.Unavailable, Message: "gone", RequestID: "r"},
			"set a: gone; not written",
		},
		"a write that a node did not make": {
			client.Error{Op: "set", Service: "a", Code: codes.Unavailable, Reason: "NOT_WRITTEN", Message: "not written: no leader", RequestID: "r"},
			"set a: not written: no leader",
		},
		"a write of unknown outcome": {
			client.Error{Op: "delete", Service: "a", Code: codes.Unavailable, Message: "gone", Written: client.WrittenUnknown, RequestID: "r", Endpoint: "n1"},
			"delete a: n1: gone; outcome unknown, request id r",
		},
		"a write whose outcome a node does not know": {
			client.Error{Op: "delete", Service: "a", Code: codes.Unknown, Reason: "OUTCOME_UNKNOWN", Message: "outcome unknown: gone", Written: client.WrittenUnknown, RequestID: "r"},
			"delete a: outcome unknown: gone; request id r",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.err.Error(); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if st := status.Convert(&test.err); st.Code() != test.err.Code || st.Message() != test.want {
				t.Errorf("as a status: %v", st)
			}
		})
	}
}

func TestErrorQuotesOddNames(t *testing.T) {
	c := newClient(t, client.DefaultConfig())
	c.Close()
	for service, want := range map[string]string{
		"":       `check "": the client is closed`,
		"a b":    `check "a b": the client is closed`,
		"a\nb":   `check "a\nb": the client is closed`,
		"shop/ü": `check shop/ü: the client is closed`,
	} {
		if _, err := c.Check(t.Context(), service); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestWrittenInWords(t *testing.T) {
	if no, unknown := client.WrittenNo.String(), client.WrittenUnknown.String(); no != "no" || unknown != "unknown" {
		t.Errorf("got %q, %q", no, unknown)
	}
}
