package httpapi

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
	"github.com/rollcallhq/rollcall/internal/duration"
)

// reasons say why a service is not SERVING, one line each, what decides first. There are none if it is.
func (s *Service) reasons(now time.Time) []string {
	if s.Status == client.Serving {
		return nil
	}
	var all []string
	if s.Whole.Off {
		all = append(all, "the registry has switched it off: "+judgement(s.Name, &s.Whole, now))
	}
	if s.Off != nil {
		all = append(all, "the registry has switched this instance off: "+judgement(s.reportedAs(), s.Off, now))
	}
	if s.Waiting {
		all = append(all, "the registry has not been heard yet; after a moment the agent decides without it")
	}
	if s.Own.Status != client.Serving {
		all = append(all, "the service itself is "+s.Own.text(now))
		for _, c := range s.Checks {
			if c.Critical && c.Status == client.NotServing {
				all = append(all, fmt.Sprintf("check %s: %s", c.Check, cmp.Or(c.Error, "its last run passed, but not enough of them in a row")))
			}
		}
	}
	if len(all) == 0 {
		all = append(all, "the agent is stopping")
	}
	return all
}

// warnings are what checks found that turns nothing, one line each.
func (s *Service) warnings() []string {
	var all []string
	for _, c := range s.Checks {
		switch {
		case c.Error == "" || c.Critical && !c.Degraded || !c.Degraded && c.Status != client.NotServing:
		case c.Critical:
			all = append(all, fmt.Sprintf("warning: check %s: %s", c.Check, c.Error))
		default:
			all = append(all, fmt.Sprintf("warning: check %s, which turns nothing: %s", c.Check, c.Error))
		}
	}
	return all
}

// text is a refusal for people, behind what is refused.
func (r *Refusal) text(now time.Time) string {
	return since(r.Since, now) + ": " + r.Reason + ": " + oneLine(r.Message)
}

// oneLine is a text of somebody else's as one line of the page.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func (s *Service) reportedAs() string { return s.Name + "/" + s.Instance }

// text is a word for people: NOT_SERVING since …: "disk full".
func (w *Word) text(now time.Time) string {
	text := w.Status.String() + since(w.Since, now)
	if w.Reason != "" {
		text += ": " + strconv.Quote(w.Reason)
	}
	return text
}

// judgement is what the registry says of a name, for people.
func judgement(name string, o *view.Opinion, now time.Time) string {
	switch {
	case !o.Heard:
		return fmt.Sprintf("%q was not heard of yet", name)
	case o.Record == nil:
		return fmt.Sprintf("%q does not exist there", name)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%q is %s", name, o.Status)
	var reason string
	if by := o.Record.GetOverride(); by != nil {
		fmt.Fprintf(&b, " by the override of %q", by.GetPattern())
		if actor := by.GetActor().GetName(); actor != "" {
			fmt.Fprintf(&b, " that %s set", plain(actor))
		}
		b.WriteString(since(timeOf(by.GetTime()), now))
		if end := timeOf(by.GetExpireTime()); !end.IsZero() {
			fmt.Fprintf(&b, " until %s (%s left)", stamp(end), duration.Age(end.Sub(now)))
		}
		reason = by.GetReason()
	} else {
		by := o.Record.GetReport()
		b.WriteString(" by a report")
		if actor := by.GetActor().GetName(); actor != "" {
			fmt.Fprintf(&b, " of %s", plain(actor))
		}
		b.WriteString(since(timeOf(by.GetTime()), now))
		reason = by.GetReason()
	}
	fmt.Fprintf(&b, ", %s", cmp.Or(quoteIf(reason), "no reason was given"))
	if o.Held {
		b.WriteString("; an older cluster said so, and the one that answers now has not spoken of it")
	}
	return b.String()
}

// rivalText says who else reports the instance; "" if nobody does.
func (s *Service) rivalText() string {
	if s.Rival == nil {
		return ""
	}
	text := "another reporter"
	if by := s.Rival.GetReport().GetActor(); by.GetName() != "" {
		text += ", " + plain(by.GetName())
		if by.GetPeer() != "" {
			text += " from " + by.GetPeer()
		}
		text += ","
	}
	return text + fmt.Sprintf(" has reported %q after this agent, and its word stands; give each agent an instance of its own", s.reportedAs())
}

// since is " since TIME (4m12s ago)"; "" if the time is not known.
func since(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + stamp(t) + " (" + duration.Age(now.Sub(t)) + " ago)"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func quoteIf(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s)
}

// plain is a name of somebody; in quotes if it has more than plain characters.
func plain(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` || strings.ContainsAny(s, " ,:;") {
		return q
	}
	return s
}
