package aware

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

func infoOf(t *testing.T, err error) *errdetails.ErrorInfo {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	t.Fatalf("%v has no ErrorInfo", err)
	return nil
}

func TestRefusalSaysWhoAndWhy(t *testing.T) {
	overridden := off("a reporter", "its own word")
	overridden.Record.Override = &rollcallv1.Override{Pattern: "shop/*", Status: client.NotServing, Reason: "cell a moves", Actor: &rollcallv1.Actor{Name: "ann@laptop"}}
	held := off("ann", "moving")
	held.Held = true
	for name, test := range map[string]struct {
		opinion  view.Opinion
		metadata map[string]string
		line     string
	}{
		"a report": {off("ann", "moving"), map[string]string{"service": "checkout", "who": "ann", "why": "moving", "revision": "7"},
			`checkout is NOT_SERVING in the registry, set by "ann", because of "moving"`},
		"an override": {overridden, map[string]string{"service": "checkout", "who": "ann@laptop", "why": "cell a moves", "override": "shop/*", "revision": "7"},
			`checkout is NOT_SERVING in the registry, by the override of "shop/*", set by "ann@laptop", because of "cell a moves"`},
		"nobody and no reason": {off("", ""), map[string]string{"service": "checkout", "who": "", "why": "", "revision": "7"},
			`checkout is NOT_SERVING in the registry`},
		"no record": {view.Opinion{Off: true}, map[string]string{"service": "checkout", "who": "", "why": "", "revision": "0"},
			`checkout is NOT_SERVING in the registry`},
		"held": {held, map[string]string{"service": "checkout", "who": "ann", "why": "moving", "revision": "7", "held": "true"},
			`checkout is NOT_SERVING in the registry, set by "ann", because of "moving"; another cluster answers now, which has not spoken of it`},
		"lines": {off("ann", "first\nsecond"), map[string]string{"service": "checkout", "who": "ann", "why": "first\nsecond", "revision": "7"},
			`checkout is NOT_SERVING in the registry, set by "ann", because of "first\nsecond"`},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := gateOf(t, map[string]view.Opinion{"checkout": test.opinion}, Mapping{"": "checkout"})
			_, err := unary(g, "/a.B/C")
			want := &errdetails.ErrorInfo{Domain: "rollcall", Reason: "TARGET_NOT_SERVING", Metadata: test.metadata}
			if got := infoOf(t, err); !proto.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			if got := status.Convert(err).Message(); got != test.line {
				t.Errorf("got  %s\nwant %s", got, test.line)
			}
		})
	}
}

func TestTextsAreBounded(t *testing.T) {
	for name, text := range map[string]string{
		"long":                  strings.Repeat("x", 100_000),
		"long, of two bytes":    "x" + strings.Repeat("ä", 50_000),
		"long, of four bytes":   "xyz" + strings.Repeat("🚀", 50_000),
		"not UTF-8":             "ab\xffcd",
		"long and not UTF-8":    strings.Repeat("\xff", 100_000),
		"ends inside a letter":  strings.Repeat("x", 255) + "ä",
		"control and direction": "a\x00b\u202ec",
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := gateOf(t, map[string]view.Opinion{"checkout": off(text, text)}, Mapping{"": "checkout"})
			_, err := unary(g, "/a.B/C")
			info := infoOf(t, err)
			if _, err := proto.Marshal(info); err != nil {
				t.Error(err)
			}
			if who := info.GetMetadata()["who"]; len(who) > 256 || !utf8.ValidString(who) || who == "" {
				t.Errorf("who has %d bytes", len(who))
			}
			if why := info.GetMetadata()["why"]; len(why) > 1024 || !utf8.ValidString(why) || why == "" {
				t.Errorf("why has %d bytes", len(why))
			}
			if line := status.Convert(err).Message(); len(line) > 4096 || !utf8.ValidString(line) || strings.ContainsAny(line, "\x00\u202e") {
				t.Errorf("the message has %d bytes: %.300s", len(line), line)
			}
		})
	}
}

// TestRefusalIsMadeOnceAChange: a refused call costs nothing, and never says what was said before.
func TestRefusalIsMadeOnceAChange(t *testing.T) {
	first, second := off("ann", "moving"), off("bob", "a fire")
	second.Revision = 8
	later := second // the same report, beneath an override that came and went
	later.Revision = 9
	held := later
	held.Held = true
	g, s := gateOf(t, map[string]view.Opinion{"checkout": first}, Mapping{"": "checkout"})
	_, before := unary(g, "/a.B/C")
	for _, o := range []view.Opinion{second, later, held, first} {
		s.set("checkout", o)
		_, err := unary(g, "/a.B/C")
		if err == before {
			t.Error("a refusal of before")
		}
		if _, again := unary(g, "/a.B/D"); again != err {
			t.Error("a refusal was made for one call")
		}
		if _, again := stream(g, "/a.B/E"); again != err {
			t.Error("a refusal was made for one stream")
		}
		before = err
	}
	s.set("checkout", view.Opinion{Heard: true, Status: client.Serving})
	if made, err := unary(g, "/a.B/C"); !made || err != nil {
		t.Errorf("made: %v, %v", made, err)
	}
}

func TestARefusalCanBeWrapped(t *testing.T) {
	g, _ := gateOf(t, map[string]view.Opinion{"checkout": off("ann", "moving")}, Mapping{"": "checkout"})
	_, err := unary(g, "/a.B/C")
	if wrapped := fmt.Errorf("paying: %w", err); status.Code(wrapped) != codes.Unavailable || !errors.Is(wrapped, err) {
		t.Error(wrapped)
	}
}
