package aware

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client/view"
)

// ReasonTargetNotServing is the reason in the ErrorInfo of a refused call.
const ReasonTargetNotServing = "TARGET_NOT_SERVING"

// errorDomain is that of all ErrorInfos of Rollcall.
const errorDomain = "rollcall"

// How much of the registry's texts an error holds.
const (
	maxWhoBytes     = 256
	maxWhyBytes     = 1 << 10
	maxMessageBytes = 200 // of the reason, in the line for people
)

// target is a name of the view that calls depend on, and the error of those that it refuses.
type target struct {
	name    string
	refusal atomic.Pointer[refusal] // the last one made
}

// refusal is the error of all calls while the view says the same. It is made once: making it costs about 2 µs.
type refusal struct {
	opinion view.Opinion
	err     error
}

// refuse returns the error for an opinion that is off.
func (t *target) refuse(o *view.Opinion) error {
	r := t.refusal.Load()
	if r == nil || r.opinion.Record != o.Record || r.opinion.Revision != o.Revision || r.opinion.Held != o.Held || r.opinion.Cluster != o.Cluster {
		r = &refusal{opinion: *o, err: refusalOf(t.name, o)}
		t.refusal.Store(r)
	}
	return r.err
}

// refusalOf says what is off, who switched it off and why.
func refusalOf(name string, o *view.Opinion) error {
	name = strings.ToValidUTF8(name, "\uFFFD")
	who, why := whoAndWhy(o.Record)
	info := &errdetails.ErrorInfo{Domain: errorDomain, Reason: ReasonTargetNotServing, Metadata: map[string]string{
		"service": name, "who": who, "why": why, "revision": strconv.FormatInt(o.Revision, 10),
	}}
	line := name + " is NOT_SERVING in the registry"
	if pattern := o.Record.GetOverride().GetPattern(); pattern != "" {
		info.Metadata["override"] = strings.ToValidUTF8(pattern, "\uFFFD")
		line += fmt.Sprintf(", by the override of %q", pattern)
	}
	if who != "" {
		line += fmt.Sprintf(", set by %q", who)
	}
	if why != "" {
		line += fmt.Sprintf(", because of %q", shorten(why, maxMessageBytes))
	}
	if o.Held {
		info.Metadata["held"] = "true"
		line += "; another cluster answers now, which has not spoken of it"
	}
	s := status.New(codes.Unavailable, strings.ToValidUTF8(line, "\uFFFD"))
	if detailed, err := s.WithDetails(info); err == nil {
		s = detailed
	}
	return s.Err()
}

// whoAndWhy are those of what decides over a record: its override, or its report.
func whoAndWhy(r *rollcallv1.ServiceRecord) (who, why string) {
	if o := r.GetOverride(); o != nil {
		who, why = o.GetActor().GetName(), o.GetReason()
	} else {
		who, why = r.GetReport().GetActor().GetName(), r.GetReport().GetReason()
	}
	return shorten(who, maxWhoBytes), shorten(why, maxWhyBytes)
}

// shorten returns valid UTF-8 of at most limit bytes.
func shorten(text string, limit int) string {
	const cut = "…"
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	end := limit - len(cut)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cut
}
