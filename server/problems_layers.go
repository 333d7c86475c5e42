package server

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/authz"
)

// maxLayerProblems is how many sentences of one sort there are. More are counted.
const maxLayerProblems = 5

// layerProblems names what operators may have forgotten, as this node knows it: a registry that is shut down,
// rules that do not hold, overrides that end only when somebody ends them. It names no override whose pattern has
// nothing that the reader may read, but that of the whole registry, and no rule that counts what the reader may not
// read. now is by the cluster's clock.
func layerProblems(l Layers, may *authz.Reader, now time.Time) []string {
	var shut, broken, forever []string
	overrides, _, _ := l.ListOverrides("", limits.MaxOverrides, func(p string) bool { return p == pattern.Switch || may.Meets(p) })
	for _, o := range overrides {
		who := ""
		if name := cmp.Or(o.GetActor().GetName(), o.GetActor().GetPeer()); name != "" {
			who = " by " + name
		}
		age := coarsely(now.Sub(o.GetTime().AsTime()))
		switch {
		case o.GetPattern() == pattern.Switch:
			shut = append(shut, fmt.Sprintf("%s, set%s %s ago%s; %s", switched(o), who, age, because(o.GetReason()), switchEnd(o, now)))
		case o.GetExpireTime() == nil:
			forever = append(forever, fmt.Sprintf("override %s%s without end for %s%s", o.GetPattern(), who, age, because(o.GetReason())))
		}
	}
	rules, _ := l.ListRules()
	for _, r := range rules {
		if r.GetServing() < r.GetNeeded() && may.Covers(r.GetPattern()) {
			broken = append(broken, fmt.Sprintf("rule %s is broken: %s: %d needed, %d of %d serve", r.GetName(), r.GetPattern(), r.GetNeeded(), r.GetServing(), r.GetTotal()))
		}
	}
	return append(shut, append(atMost(broken, "rules are broken"), atMost(forever, "overrides have no end")...)...)
}

// switched says what the override of the whole registry does. Nobody must overlook a shutdown.
func switched(o *rollcallv1.Override) string {
	if o.GetStatus() == healthpb.HealthCheckResponse_NOT_SERVING {
		return "THE REGISTRY IS SHUT DOWN: every service shows NOT_SERVING"
	}
	return fmt.Sprintf("the whole registry is overridden: every service shows %v", o.GetStatus())
}

// switchEnd says when the override of the whole registry ends, and how to end it.
func switchEnd(o *rollcallv1.Override, now time.Time) string {
	const resume = `"rollcall resume" ends it`
	end := o.GetExpireTime()
	switch left := end.AsTime().Sub(now); {
	case end == nil:
		return "it has no end, only " + resume
	case left <= 0:
		return "its time is over, a leader ends it as soon as there is one"
	default:
		return "it ends by itself in " + coarsely(left) + ", " + resume + " now"
	}
}

// coarsely is how long something lasts: "3m", "26h", "3 days".
func coarsely(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", max(0, d)/time.Second)
}

// atMost counts sentences instead of repeating too many.
func atMost(list []string, more string) []string {
	if n := len(list) - maxLayerProblems; n > 0 {
		return append(list[:maxLayerProblems:maxLayerProblems], fmt.Sprintf("%d more %s", n, more))
	}
	return list
}

// because is the end of a sentence about a change: its reason on one line, and not more of it than a sentence
// should hold.
func because(reason string) string {
	const most = 80
	reason = strings.TrimSpace(reason)
	if reason == "" {
		return ""
	}
	text := []rune(reason)
	if len(text) > most {
		text = append(text[:most:most], '…')
	}
	quoted := strconv.Quote(string(text))
	return ": " + strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
