package authn

import (
	"maps"
	"testing"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

func TestDenialsAreCountedByVerb(t *testing.T) {
	var d Denials
	if got := d.ByVerb(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	for _, f := range []*rpcerror.Failure{
		{Reason: rpcerror.ReasonDenied, Meta: map[string]string{rpcerror.MetaVerb: "report"}},
		{Reason: rpcerror.ReasonDenied, Meta: map[string]string{rpcerror.MetaVerb: "report,rules"}},
		{Reason: rpcerror.ReasonEscalation, Meta: map[string]string{rpcerror.MetaVerb: "auth"}},
		{Reason: rpcerror.ReasonNoCredentials, Meta: map[string]string{rpcerror.MetaVerb: "read"}},
		{Reason: rpcerror.ReasonDenied},
		{Reason: rpcerror.ReasonTokenUnknown, Meta: map[string]string{rpcerror.MetaVerb: "read"}},
		{Reason: rpcerror.ReasonNotFound},
	} {
		d.Count(f)
	}
	want := map[string]uint64{"report": 2, "rules": 1, "auth": 1, "read": 1}
	if got := d.ByVerb(); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
