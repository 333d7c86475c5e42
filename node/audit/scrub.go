package audit

import (
	"context"
	"errors"
	"time"

	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/registry"
)

const (
	// memoryShare of a core is what scrubbing memory takes while it lasts.
	memoryShare = 0.01
	// The registry file has to be read as of one moment, and its file grows meanwhile: rather briskly and
	// briefly. A second of one core, every ten minutes, is less than a hundredth too.
	scrubShare   = 0.2
	scrubTimeout = 5 * time.Second

	// snapshotAgain is how long after a snapshot that could not be taken the next is tried.
	snapshotAgain = 10 * time.Second
)

// scrub computes the state hash from all records every ScrubInterval: what is not written again is
// compared with nothing else.
func (a *Auditor) scrub(ctx context.Context) {
	tooLarge := false
	for {
		next := time.NewTimer(a.cfg.ScrubInterval)
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
		if a.diverged.Load() != nil {
			return
		}
		a.scrubMemory(ctx)
		err := a.scrubRegistryFile(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, context.DeadlineExceeded):
			if !tooLarge {
				a.log.Warn("the registry file is too large to be scrubbed while it is written; it is checked at each start", "within", scrubTimeout.String())
			}
			tooLarge = true
		case err != nil && !errors.Is(err, store.ErrClosed) && !errors.Is(err, registry.ErrScanEnded):
			a.log.Error("the registry file cannot be scrubbed", "error", err)
		}
		if err := a.parts.Snapshots.Scrub(); err != nil {
			a.log.Error("the snapshots cannot be scrubbed", "error", err)
		}
	}
}

func (a *Auditor) scrubMemory(ctx context.Context) {
	found, err := a.parts.Fold.ScrubMemory(ctx, memoryShare)
	if err == nil && !found.Agrees() {
		what := "its memory does not have the state hash that was kept of it"
		if found.Derived != "" {
			what = found.Derived
		}
		a.find(ctx, suspicion{index: found.Index, what: what, contradicts: true})
	}
}

func (a *Auditor) scrubRegistryFile(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, scrubTimeout)
	defer cancel()
	found, compared, err := a.parts.Fold.ScrubRegistryFile(bounded, scrubShare)
	switch {
	case errors.Is(err, store.ErrDamaged):
		a.log.Error("a record of the registry file is damaged", "error", err)
		a.find(ctx, suspicion{index: a.parts.RegistryFile.Meta().GetIndex(), what: "a record of its registry file is damaged", contradicts: true})
		return nil
	case err != nil:
		return err
	case compared && !found.Agrees():
		a.find(ctx, suspicion{index: found.Index, what: "its registry file does not have the state hash that was stored with it", contradicts: true})
	}
	return nil
}

func (a *Auditor) find(ctx context.Context, s suspicion) {
	select {
	case a.found <- s:
	case <-ctx.Done():
	}
}

// replaceSnapshots takes a new snapshot when the newest one turns out to be damaged, so that followers
// that need one, and this node's next start, do not have to wait for thousands of entries.
func (a *Auditor) replaceSnapshots(ctx context.Context) {
	for {
		select {
		case <-a.parts.Snapshots.Damaged():
		case <-ctx.Done():
			return
		}
		if good, err := a.parts.Snapshots.List(); err == nil && len(good) > 0 {
			continue // it has been replaced meanwhile
		}
		a.log.Warn("the newest snapshot is damaged: a new one is taken")
		err := a.parts.Raft.Snapshot(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		a.log.Error("no snapshot can be taken in the place of a damaged one; it is tried again", "error", err)
		pause := time.NewTimer(snapshotAgain)
		select {
		case <-pause.C:
			_, _ = a.parts.Snapshots.List() // has Damaged told if it still is
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}
