package node

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/raftnode"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

// lines logs into a buffer without times and returns what came since the last call.
func lines() (*slog.Logger, func() string) {
	var b bytes.Buffer
	times := regexp.MustCompile(`(?m)^time=\S+ `)
	return slog.New(slog.NewTextHandler(&b, nil)), func() string {
		text := times.ReplaceAllString(b.String(), "")
		b.Reset()
		return strings.TrimSpace(text)
	}
}

func TestLeaderLog(t *testing.T) {
	log, said := lines()
	l := &leaderLog{log: log}
	now := time.Unix(0, 0)
	away := []peerport.PeerStatus{{Name: "n1"}, {Name: "n3", Err: "connection refused"}}
	voters := []string{"n1", "n2", "n3"}
	for _, step := range []struct {
		after  time.Duration
		status raftnode.Status
		want   string
	}{
		{0, raftnode.Status{}, ""}, // not formed
		{time.Hour, raftnode.Status{Formed: true}, ""},
		{time.Second, raftnode.Status{Formed: true, Leader: "n1", Term: 2}, `level=INFO msg="leader changed" leader=n1 term=2 was=""`},
		{time.Second, raftnode.Status{Formed: true, Leader: "n1", Term: 2, Leading: true}, ""},
		{time.Second, raftnode.Status{Formed: true, Term: 3}, ""},
		{time.Second, raftnode.Status{Formed: true, Leader: "n2", Term: 3}, `level=INFO msg="leader changed" leader=n2 term=3 was=n1`},
		{time.Second, raftnode.Status{Formed: true, Term: 3, Voters: voters, Peers: away}, ""},
		{2 * time.Second, raftnode.Status{Formed: true, Term: 4, Voters: voters, Peers: away}, ""},
		{time.Second, raftnode.Status{Formed: true, Term: 4, Voters: voters, Peers: away},
			`level=WARN msg="no leader: writes are refused, reads go on" term=4 for=3s was=n2 voters=3 unreachable=[n3]`},
		{time.Second, raftnode.Status{Formed: true, Term: 5, Voters: voters, Peers: away}, ""},
		{time.Minute, raftnode.Status{Formed: true, Term: 9, Voters: voters},
			`level=WARN msg="no leader: writes are refused, reads go on" term=9 for=1m4s was=n2 voters=3 unreachable=[]`},
		{time.Second, raftnode.Status{Formed: true, Leader: "n2", Term: 10},
			`level=INFO msg="a leader again: writes are accepted" leader=n2 term=10 was=n2 after=1m5s`},
		{time.Second, raftnode.Status{Formed: true, Leader: "n2", Term: 10}, ""},
	} {
		now = now.Add(step.after)
		l.observe(step.status, now)
		if got := said(); got != step.want {
			t.Errorf("after %s, %+v: said %q, want %q", now.Sub(time.Unix(0, 0)), step.status, got, step.want)
		}
	}
}

func TestNoticeIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, said := lines()
		var n notice
		for range 90 {
			n.warn(log, "it is so")
			time.Sleep(time.Second)
		}
		if got, want := said(), "level=WARN msg=\"it is so\"\nlevel=WARN msg=\"it is so\" held_back=59"; got != want {
			t.Errorf("in 90 s: %q, want %q", got, want)
		}
	})
}
