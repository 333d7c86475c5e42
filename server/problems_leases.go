package server

import (
	"fmt"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// releaseTold is how long after a release of the lease guard the status tells of it.
const releaseTold = 10 * time.Minute

// guardProblems says that the lease guard holds leases, or that somebody has released it a short time ago. now is
// by the cluster's clock.
func guardProblems(g *logv1.LeaseGuard, now time.Time) []string {
	switch released := now.Sub(time.Unix(0, g.GetReleaseTime())); {
	case g.GetEngaged():
		return []string{fmt.Sprintf(`leases held: %d of %d reporters late since %s; "rollcall lease release-guard" lets them expire`,
			g.GetLate(), g.GetLive(), clockTime(time.Unix(0, g.GetTime()), now))}
	case g.GetReleaseTime() != 0 && released < releaseTold:
		who := ""
		if name := actorName(g.GetActor()); name != "" {
			who = " by " + name
		}
		return []string{fmt.Sprintf("the lease guard was released%s %s ago%s: leases of reporters that are late expire", who, coarsely(released), because(g.GetReason()))}
	}
	return nil
}

func actorName(a *logv1.Actor) string {
	if a.GetName() != "" {
		return a.GetName()
	}
	return a.GetPeer()
}

// clockTime is a moment of the last day as a clock shows it, and an earlier one with its date.
func clockTime(at, now time.Time) string {
	if now.Sub(at) < 24*time.Hour {
		return at.UTC().Format("15:04 UTC")
	}
	return at.UTC().Format("2006-01-02 15:04 UTC")
}
