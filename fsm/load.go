package fsm

import (
	"fmt"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/statusmap"
)

// loadState reads the registry file into a state, and also returns the services as a statusmap.Map. It
// refuses content that the fold could not have written: a node must not serve a damaged registry.
//
// A starting node answers nobody before this is done. So all cores work on it: first on the parts of the
// file, then on the tree and on the map.
func loadState(j Loader, kinds *Kinds, maxLevel, hashVersion uint32) (*state, *statusmap.Map, *logv1.RegistryMeta, error) {
	l := newLoading(kinds)
	l.s.hashVersion = hashVersion
	meta, err := j.Load(l)
	if err == nil {
		err = l.finish(meta, maxLevel)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("load the registry: %w", err)
	}
	return l.s, l.index, meta, nil
}

// recordLoader loads the records of one kind.
type recordLoader interface {
	// part may be called by several goroutines at a time.
	part(number int, records []logv1.KeyValue) error
	// finish is called once, after all parts.
	finish(meta *logv1.RegistryMeta) error
}

// loading is a state that is being loaded. It is a logv1.Visitor.
type loading struct {
	s       *state
	index   *statusmap.Map
	loaders map[logv1.Kind]recordLoader
}

func newLoading(kinds *Kinds) *loading {
	l := &loading{s: newState(kinds), loaders: map[logv1.Kind]recordLoader{}}
	for _, kind := range kinds.all {
		if kind.tuned != nil {
			l.loaders[kind.Number] = kind.tuned.loader(l)
		} else {
			l.loaders[kind.Number] = &tableLoader{s: l.s, kind: kind, loaded: map[string]Value{}}
		}
	}
	return l
}

// Records implements logv1.Visitor.
func (l *loading) Records(kind logv1.Kind, part int, records []logv1.KeyValue) error {
	loader := l.loaders[kind]
	if loader == nil {
		return fmt.Errorf("it holds records of kind %d, which this binary does not know; a newer one wrote them", kind)
	}
	return loader.part(part, records)
}

func (l *loading) finish(meta *logv1.RegistryMeta, maxLevel uint32) error {
	if level := logv1.LevelOf(meta.GetLevel()); level > maxLevel {
		return &LevelError{Needs: level, Max: maxLevel}
	}
	if meta.GetHorizon() > meta.GetRevision()+1 {
		return fmt.Errorf("its horizon is %d, its revision only %d", meta.GetHorizon(), meta.GetRevision())
	}
	l.s.takeMeta(meta)
	// Kinds with a table come first: the settings are among them.
	for _, tuned := range []bool{false, true} {
		for _, kind := range l.s.kinds.all {
			if (kind.tuned != nil) != tuned {
				continue
			}
			if err := l.loaders[kind.Number].finish(meta); err != nil {
				return err
			}
		}
	}
	l.s.derive()
	return l.s.verify(meta)
}

// takeMeta takes what is replicated in addition to the records.
func (s *state) takeMeta(meta *logv1.RegistryMeta) {
	s.clusterID = meta.GetClusterId()
	s.revision = meta.GetRevision()
	s.logTime = meta.GetLogTime()
	s.horizon = max(meta.GetHorizon(), firstHorizon)
	s.level = logv1.LevelOf(meta.GetLevel())
}
