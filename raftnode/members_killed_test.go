package raftnode

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
	"github.com/rollcallhq/rollcall/raftnode/reconciler"
)

// memberSeeds is how many runs TestLeadersKilledWhileMembersChange makes: ROLLCALL_MEMBER_SEEDS, or a few.
func memberSeeds(t *testing.T) (first, count int) {
	t.Helper()
	text := os.Getenv("ROLLCALL_MEMBER_SEEDS")
	if text == "" {
		if testing.Short() {
			return 0, 4
		}
		return 0, 12
	}
	if from, err := strconv.Atoi(os.Getenv("ROLLCALL_MEMBER_SEED")); err == nil {
		first = from
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		t.Fatalf("ROLLCALL_MEMBER_SEEDS is %q; it must be a number above 0", text)
	}
	return first, count
}

// TestLeadersKilledWhileMembersChange changes the members of a cluster, and kills the leader before, in the middle of
// and after the steps of each change. Whoever leads next goes on. All that was acknowledged is kept, raft's configuration
// is in the end what the registry says, and every one on the way was allowed.
//
// ROLLCALL_MEMBER_SEEDS=1000 makes a thousand runs, ROLLCALL_MEMBER_SEED is the first of them.
func TestLeadersKilledWhileMembersChange(t *testing.T) {
	t.Parallel()
	first, count := memberSeeds(t)
	kills, steps := 0, map[reconciler.Kind]int{}
	for seed := first; seed < first+count; seed++ {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newKilledRun(t, uint64(seed))
				defer r.closeAll()
				r.run()
				r.mu.Lock()
				defer r.mu.Unlock()
				kills += r.kills
				for kind, n := range r.steps {
					steps[kind] += n
				}
			})
		})
		if !ok {
			return
		}
	}
	t.Logf("%d runs, %d leaders killed; %d members added, %d got a vote, %d removed, %d leaders handed over", count, kills,
		steps[reconciler.AddNonvoter], steps[reconciler.AddVoter], steps[reconciler.Remove], steps[reconciler.Transfer])
	if kills == 0 || steps[reconciler.AddVoter] == 0 || steps[reconciler.Remove] == 0 {
		t.Error("too little happened")
	}
}

// killedRun is one run.
type killedRun struct {
	*changing
	due chan string // leaders that are to be killed; capacity 64: more are never due at a time

	mu    sync.Mutex // guards these four, which onStep uses too
	rng   *rand.Rand
	kills int
	steps map[reconciler.Kind]int // that were made
	quiet bool                    // no more kills

	alive map[string]bool // members whose process should run
	acked []string
	wrote int
}

func newKilledRun(t *testing.T, seed uint64) *killedRun {
	r := &killedRun{rng: rand.New(rand.NewPCG(seed, 16)), due: make(chan string, 64), steps: map[reconciler.Kind]int{}, alive: map[string]bool{}}
	founders := []string{"n1", "n2", "n3", "n4", "n5"}[:3+2*r.intN(2)]
	r.changing = openChanging(t, testOptions{}, founders...)
	for _, name := range founders {
		r.alive[name] = true
	}
	r.stepped = r.onStep
	return r
}

func (r *killedRun) intN(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rng.IntN(n)
}

// onStep runs on the goroutine of the reconciler.
func (r *killedRun) onStep(n *testNode, step reconciler.Step, done bool) {
	name := n.cfg.Node
	chance := r.intN(10)
	r.mu.Lock()
	if done {
		r.steps[step.Kind]++
	}
	enough := r.quiet || r.kills >= 8
	r.mu.Unlock()
	if enough {
		return
	}
	switch {
	case done && chance < 6: // after it is committed, before anything else happens
		r.network.Isolate(memnet.Reset, name)
	case !done && chance < 2: // it never leaves this node
		r.network.Isolate(memnet.Reset, name)
	case !done && chance < 6: // some hear of it: it may be committed, or not, or be lost
		for _, other := range n.Status().Servers {
			if other.Name != name && r.intN(2) == 0 {
				r.network.Partition(memnet.Stall, name, other.Name)
			}
		}
	default:
		return
	}
	r.due <- name
}

// turn lets time pass, kills who is due, brings back who was killed, and writes.
func (r *killedRun) turn() {
	select {
	case name := <-r.due:
		time.Sleep(time.Duration(r.intN(30)) * time.Millisecond)
		if r.nodes[name] == nil {
			break
		}
		r.mu.Lock()
		r.kills++
		r.mu.Unlock()
		r.kill(name)
		// The others have time to elect, and to go on, or not.
		time.Sleep(time.Duration(r.intN(4)) * time.Duration(r.intN(2000)) * time.Millisecond)
	default:
		time.Sleep(time.Duration(50+r.intN(200)) * time.Millisecond)
	}
	r.bringBack()
	if leader := r.leads(); leader != nil {
		r.wrote++
		id := fmt.Sprintf("w%d", r.wrote)
		ctx, cancel := context.WithTimeout(r.t.Context(), 300*time.Millisecond)
		if _, err := leader.Propose(ctx, command(id)); err == nil {
			r.acked = append(r.acked, id)
		}
		cancel()
	}
}

// bringBack starts all who should run. The first start of one that came later needs somebody who knows it: a node waits
// for that.
func (r *killedRun) bringBack() {
	for name := range r.alive {
		if r.nodes[name] == nil && (!r.joined[name] || r.ran(name) || r.known(name)) {
			_, err := r.tryStart(name)
			// Those that answer may not have heard yet that it is a member: it tries again.
			if err != nil && !errors.As(err, new(*FormingError)) {
				r.t.Fatal(err)
			}
			if err != nil {
				r.t.Logf("%s does not start yet: %v", name, err)
			}
		}
	}
}

// ran says whether a member has run on the data directory that it has.
func (r *killedRun) ran(name string) bool {
	n := r.nodes2[name]
	return n != nil && n.directoryID == r.made[name]
}

func (r *killedRun) known(name string) bool {
	for _, n := range r.nodes {
		if n.view().Known[name] == r.made[name] {
			return true
		}
	}
	return false
}

// apply has the registry take a change; leaders die meanwhile. A change may be applied twice.
func (r *killedRun) apply(cmd *logv1.Command) {
	r.t.Helper()
	for range 1000 {
		if leader := r.leads(); leader != nil {
			ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
			_, err := leader.Propose(ctx, cmd)
			cancel()
			if err == nil {
				return
			}
		}
		r.turn()
	}
	r.t.Fatal("the members cannot be changed")
}

// settle waits until raft's configuration is what the registry says, for three minutes at most.
func (r *killedRun) settle(want map[string]bool) {
	r.t.Helper()
	var names []string
	for name, votes := range want {
		text := name
		if r.joined[name] {
			text += "+"
		}
		if !votes {
			text += "?"
		}
		names = append(names, text)
	}
	slices.Sort(names)
	var got []string
	deadline := time.Now().Add(3 * time.Minute)
	for time.Now().Before(deadline) {
		if leader := r.leads(); leader != nil {
			if got = r.describe(leader.Status().Servers); slices.Equal(got, names) {
				return
			}
		}
		r.turn()
	}
	var steps map[string]string
	if leader := r.leads(); leader != nil {
		steps = leader.Status().Steps
		s, index, err := leader.compared(leader.Status().Term)
		r.t.Logf("%s leads: the configuration of entry %d, %v; %+v", leader.cfg.Node, index, err, s)
	}
	r.t.Fatalf("raft has %q, not %q; %q; %d kills", got, names, steps, r.kills)
}

func (r *killedRun) run() {
	t := r.t
	want := map[string]bool{} // name → votes
	for name := range r.alive {
		want[name] = true
	}
	next := len(want) + 1
	for range 3 + r.intN(3) {
		var voters []string
		replicas := ""
		for name, votes := range want {
			if votes {
				voters = append(voters, name)
			} else {
				replicas = name
			}
		}
		slices.Sort(voters)
		some := voters[r.intN(len(voters))]
		if leader := r.leads(); leader != nil && r.intN(2) == 0 && want[leader.cfg.Node] {
			some = leader.cfg.Node
		}
		switch kind := r.intN(5); {
		case kind == 0 && len(voters) < 7, len(voters) < 3: // a new voter
			name := fmt.Sprintf("n%d", next)
			next++
			r.apply(logv1.AddMemberCommand(r.empty(name, false)))
			want[name] = true
			r.alive[name] = true
		case kind == 1: // a new replica, which may be promoted later
			name := fmt.Sprintf("n%d", next)
			next++
			r.apply(logv1.AddMemberCommand(r.empty(name, true)))
			want[name] = false
			r.alive[name] = true
		case kind == 2 && replicas != "":
			r.apply(logv1.PromoteMemberCommand(replicas))
			want[replicas] = true
		case kind == 3 && some != "n1": // a founder of the lowest name would found again: it has no identity here
			r.settle(want) // a removal is refused while another change is under way
			old := r.directory(some)
			delete(r.alive, some)
			if r.nodes[some] != nil {
				r.kill(some)
			}
			r.apply(logv1.ReplaceMemberCommand(r.empty(some, false), old, false))
			r.alive[some] = true
		default:
			r.settle(want)
			r.apply(logv1.RemoveMemberCommand(some, r.directory(some), false))
			delete(want, some)
			r.settle(want)
			delete(r.alive, some)
			if r.intN(2) == 0 && r.nodes[some] != nil {
				r.close(some) // else it goes on, and knows nothing
			}
		}
		if r.intN(3) > 0 {
			r.settle(want)
		}
	}
	r.settle(want)
	r.mu.Lock()
	r.quiet = true
	r.mu.Unlock()
	r.network.Heal()
	r.bringBack()
	for name := range r.nodes {
		if _, member := want[name]; !member {
			r.close(name)
		}
	}
	r.settle(want)
	last := r.writeAnywhere("last")
	leader := r.leads()
	for name := range want {
		n := r.nodes[name]
		if err := n.fold.WaitIndex(t.Context(), last.Index); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, id := range n.fold.requestIDs() {
			got[id] = true
		}
		for _, id := range r.acked {
			if !got[id] {
				t.Errorf("%s lacks %s, which was acknowledged", name, id)
			}
		}
		if name == leader.cfg.Node {
			r.checkLogs(n)
		}
	}
	if len(r.acked) == 0 {
		t.Error("no write was acknowledged")
	}
}
