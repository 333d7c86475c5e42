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

// A compaction is done in steps. Each step is a transaction of its own, which a flush may have to wait for. A
// step ends after compactEvents events or compactTime, whichever comes first. Then the writer rests for as
// long as the step took.
const (
	compactEvents  = 1000
	compactTime    = 4 * time.Millisecond
	minCompactRest = time.Millisecond
	// A compaction that is more than hurryBehind events behind is too slow: the registry changes faster, or
	// the history was made much shorter. Then steps are hurry times as large and there is no rest, so that
	// the file does not grow without bound.
	hurryBehind = 250_000
	hurry       = 10
)

// compactedTo is the revision up to which the registry file is compacted.
func compactedTo(meta *logv1.RegistryMeta) int64 { return max(meta.GetCompacted(), 1) }

// behind is how many events below the horizon are still to be compacted.
func behind(meta *logv1.RegistryMeta) int64 { return meta.GetHorizon() - compactedTo(meta) }

// compactionDue reports whether there is something to compact, and whether it is so much that steps must be
// larger.
func (j *File) compactionDue() (due, much bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.opt.compactByHand || j.failed != nil || j.closed || j.history != nil {
		return false, false
	}
	n := behind(j.durable)
	return n > 0, n > j.opt.hurryBehind
}

// compactIfRested makes one step if one is due and the writer has rested. Otherwise it says how long the
// writer still has to rest.
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

// compact makes one step. If it finds the history damaged, it logs that once and compacts no more: a growing
// file is no reason to stop a node whose registry is intact.
func (j *File) compact() error {
	defer watchdog.Watch(j.path, watchdog.Limit(j.opt.FlushBytes), j.fail)()
	j.disk <- struct{}{}
	defer func() { <-j.disk }()
	j.mu.Lock()
	meta := proto.CloneOf(j.durable)
	j.mu.Unlock()
	if behind(meta) <= 0 {
		return nil // a snapshot has replaced the file
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
