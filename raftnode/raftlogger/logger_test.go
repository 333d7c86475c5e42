package raftlogger

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
		expect := func(want string) {
			t.Helper()
			got := out.String()
			out.Reset()
			if _, line, found := strings.Cut(got, "level="); found {
				got = strings.TrimSpace(line)
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		l.Info("pipelining replication")
		expect("")
		l.Info("installing snapshot on", "peer", raft.Server{ID: "n2"}, "id", "2-7-1")
		expect(`INFO msg="a snapshot is sent to a member that is far behind" part=raft member=n2 snapshot=2-7-1`)
		l.Warn("heartbeat timeout reached, starting election", "last-leader-addr", raft.ServerAddress(""), "last-leader-id", raft.ServerID(""))
		expect(`INFO msg="no leader yet: this node stands for election" part=raft was=""`)
		l.Warn("heartbeat timeout reached, starting election", "last-leader-addr", raft.ServerAddress("n3"), "last-leader-id", raft.ServerID("n3"))
		expect(`WARN msg="the leader has not been heard: this node stands for election" part=raft was=n3`)
		l.Error("failed to heartbeat to", "peer", "n2")
		expect("")
		l.With("peer", "n2").Warn("failed to contact", "time", time.Second, "servers", hclog.Fmt("%+v", []int{1}))
		expect(`WARN msg="a member does not answer this leader" part=raft member=n2 for=1s servers=[1]`)
		for range 5 {
			l.Named("x").Warn("failed to contact")
		}
		expect("")
		time.Sleep(repeatEvery)
		l.Warn("failed to contact", "odd")
		expect(`WARN msg="a member does not answer this leader" part=raft extra=odd held_back=5`)
		l.Warn("rejecting pre-vote request since node is not in configuration", "from", raft.ServerAddress("n4/0b6e2f0a-4c5e-4b58-9a49-2d9a9a6c9d11"))
		expect(`WARN msg="rejecting pre-vote request since node is not in configuration" part=raft from=n4`)
		l.Error("failed to commit logs", "error", errors.New("disk"), 7, 8)
		expect(`ERROR msg="log entries could not be stored" part=raft error=disk 7=8`)
		l.StandardLogger(nil).Print("x")
		expect("")
		if l.IsTrace() || l.IsDebug() || !l.IsWarn() || !l.IsError() || l.GetLevel() != hclog.NoLevel || l.Named("a").Named("b").Name() != "a.b" {
			t.Error("levels or names")
		}
		if n, err := io.WriteString(l.StandardWriter(nil), "x"); n != 1 || err != nil {
			t.Error(n, err)
		}
	})
}
