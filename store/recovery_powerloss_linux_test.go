package store_test

import (
	"math/rand/v2"
	"testing"

	"github.com/rollcallhq/rollcall/store/lossyfs"
	"github.com/rollcallhq/rollcall/store/raftlog"
)

// TestPowerLossOfARecovery takes the power away at each moment of a recovery, also twice: the old directory is where it
// was, or the new one is, whole, and the old one is beside it.
func TestPowerLossOfARecovery(t *testing.T) {
	// Also where two directories cannot be exchanged.
	for _, mode := range []string{"recover", "recover in two"} {
		t.Run(mode, func(t *testing.T) {
			c := newCrasher(t, raftlog.WAL)
			c.run("source")
			before := c.power.Events()
			c.run(mode)
			moments := c.power.Events() - before
			c.cut(lossyfs.LoseAll())
			if have, err := c.run("settle"); err != nil || have["identity"] != restoredID || have["beside"] == "" || t.Failed() {
				t.Fatalf("without a loss: %v, %v", have, err)
			}
			every := max(1, moments/int64(powerLossRounds(t, 8)))
			seen := map[string]int{}
			for at := int64(1); at <= moments; at++ {
				if at%every == 0 || moments-at < 6 { // the last ones have the directories change places
					seen[loseInRecovery(t, mode, at)]++
				}
				if t.Failed() {
					t.Fatalf("power lost at event %d of %d", at, moments)
				}
			}
			if seen["new"] == 0 || seen["old"] == 0 {
				t.Errorf("it ended as %v only", seen)
			}
		})
	}
}

// loseInRecovery takes the power away at a moment of a recovery, and returns which directory is there then.
func loseInRecovery(t *testing.T, mode string, at int64) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(at), 3))
	loss := lossyfs.LoseAll()
	if rng.IntN(2) == 0 {
		loss = lossyfs.LoseSome(rng)
	}
	c := newCrasher(t, raftlog.WAL)
	said, _ := c.run("source")
	old := said["source"]
	c.power.CutAtEvent(at)
	said, _ = c.run(mode)
	if rng.IntN(2) == 0 {
		c.cut(loss)
	} else {
		c.kill()
	}
	if rng.IntN(2) == 0 {
		c.power.CutAtEvent(1 + rng.Int64N(8))
		c.run(mode) // which is cut off, too
		c.cut(loss)
	}
	have, err := c.run("settle")
	switch {
	case err != nil:
		t.Errorf("%v; left: %q", err, c.disk.Names())
	case have["registry"] != "18":
		t.Errorf("the registry ends at %s", have["registry"])
	case have["identity"] == restoredID && have["beside"] == old && have["term"] == "7":
		return "new"
	case have["identity"] == old && have["beside"] == "" && said["recovered"] == "":
		return "old"
	default:
		t.Errorf("%v; left: %q", have, c.disk.Names())
	}
	return ""
}
