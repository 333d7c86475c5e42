package registry

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/boltfile"
	"github.com/rollcallhq/rollcall/store/vfs"
	"github.com/rollcallhq/rollcall/store/watchdog"
)

// A compaction goes on in steps, each a transaction of its own that a flush may have to wait for: it
// looks at so many events, or for so long, whatever comes first. Then the writer rests for as long as
// the step took.
const (
	compactEvents  = 1000
	compactTime    = 4 * time.Millisecond
	minCompactRest = time.Millisecond
	// Further behind than hurryBehind events, writes must be faster than that, or the history was cut
	// short: steps are hurry times as large, and there is no rest, lest the file grow without bound.
	hurryBehind = 250_000
	hurry       = 10
)

// compactedTo is how far the registry file has done what its horizon asks for.
func compactedTo(meta *logv1.RegistryMeta) int64 { return max(meta.GetCompacted(), 1) }

// behind is how many events have not been looked at yet.
func behind(meta *logv1.RegistryMeta) int64 { return meta.GetHorizon() - compactedTo(meta) }

// compactionDue reports whether there is something to compact, and whether it is much.
func (j *File) compactionDue() (due, much bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.opt.compactByHand || j.failed != nil || j.closed || j.history != nil {
		return false, false
	}
	n := behind(j.durable)
	return n > 0, n > j.opt.hurryBehind
}

// compactIfRested makes one step if one is due and the writer has rested, or says for how long it still
// has to.
func (j *File) compactIfRested(rested *time.Time) (did bool, rest time.Duration, err error) {
	due, much := j.compactionDue()
	if !due {
		return false, 0, nil
	}
	if rest = time.Until(*rested); rest > 0 {
		return false, rest, nil
	}
	start := time.Now()
	if err := j.compact(); err != nil {
		return false, 0, err
	}
	rest = minCompactRest
	if !much {
		rest = max(rest, time.Since(start))
	}
	*rested = time.Now().Add(rest)
	return true, 0, nil
}

// compact makes one step. A history that is found damaged is left as it is, and said so once: that the
// file grows is no reason to stop a node whose registry is well.
func (j *File) compact() error {
	defer watchdog.Watch(j.path, watchdog.Limit(j.opt.FlushBytes), j.fail)()
	j.disk <- struct{}{}
	defer func() { <-j.disk }()
	j.mu.Lock()
	meta := proto.CloneOf(j.durable)
	j.mu.Unlock()
	if behind(meta) <= 0 {
		return nil // replaced meanwhile
	}
	err := j.compactStep(meta)
	broken := (*boltfile.PanicError)(nil)
	damaged := errors.Is(err, vfs.ErrDamaged) && !errors.As(err, &broken)
	j.mu.Lock()
	switch {
	case err == nil:
		j.durable = meta
	case damaged:
		j.history = err
	case broken != nil:
		j.wrecked = err
	}
	j.mu.Unlock()
	if damaged {
		j.opt.Logger.Error("the history is damaged and not compacted any more: the registry file grows", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s cannot be compacted: %w", j.path, err)
	}
	return nil
}

// compactStep deletes events in one transaction, and advances meta with them.
func (j *File) compactStep(meta *logv1.RegistryMeta) error {
	if j.opt.Intercept != nil {
		if err := j.opt.Intercept(); err != nil {
			return err
		}
	}
	return boltfile.Guard(func() error {
		return j.db.Update(func(tx *bbolt.Tx) error {
			most, within := j.opt.compactEvents, compactTime
			if behind(meta) > j.opt.hurryBehind {
				most, within = hurry*most, hurry*within
			}
			reached, err := compactEventsOf(tx, &j.packer, compactedTo(meta), meta.GetHorizon(), most, within)
			if err != nil {
				return err
			}
			meta.Compacted = reached
			return putMeta(tx, meta)
		})
	})
}
