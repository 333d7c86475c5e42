package rpcerror

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestEveryRefusalIsWorded: the fold says codes and values, and no code is without words.
func TestEveryRefusalIsWorded(t *testing.T) {
	fields := []string{"service", "status", "changes", "command", "if_revision", "member.directory_id", "horizon", "ttl", "name", "grants.patterns", "identity"}
	for number, name := range logv1.Refusal_Problem_name {
		for _, field := range fields {
			r := &logv1.Refusal{Reason: logv1.Refusal_REASON_INVALID, Problem: logv1.Refusal_Problem(number), Field: field,
				Change: 3, Value: 98, Limit: 7, Given: "given", Held: "held"}
			text := RefusalText(r)
			if (number == 0) != strings.HasSuffix(text, "was refused") || !strings.HasPrefix(text, "changes[2]."+field+" ") || strings.Contains(text, "%!") {
				t.Errorf("%s of %s reads %q", name, field, text)
			}
		}
	}
	for number, name := range logv1.Refusal_Reason_name {
		r := &logv1.Refusal{Reason: logv1.Refusal_Reason(number), Kind: logv1.Kind_KIND_SERVICE, Key: "shop/cart", Field: "f", Value: 5}
		if text := RefusalText(r); text == "" || strings.Contains(text, "%!") {
			t.Errorf("%s reads %q", name, text)
		}
		if f := Refused(r); codeOf[f.Reason] == codes.OK {
			t.Errorf("%s has the reason %s, which has no code", name, f.Reason)
		}
	}
}
