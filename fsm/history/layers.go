package history

import (
	"context"
	"sync"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/layers"
)

// This file reads the overrides of the past.

// keptLayers is for how many revisions the layers are kept: pages of one list have the same.
const keptLayers = 4

// layersCache holds the layers of the revisions that were asked for last.
type layersCache struct {
	mu   sync.Mutex // guards kept
	kept []pastLayers
}

// pastLayers are the layers as of a revision, as a node shows them whose horizon is this.
type pastLayers struct {
	revision, horizon int64
	layers            *layers.Layers
}

func (c *layersCache) get(revision, horizon int64) (*layers.Layers, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.kept {
		if p.revision == revision && p.horizon == horizon {
			return p.layers, true
		}
	}
	return nil, false
}

func (c *layersCache) put(p pastLayers) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) == keptLayers {
		c.kept = append(c.kept[:0], c.kept[1:]...)
	}
	c.kept = append(c.kept, p)
}

func (c *layersCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = nil
}

// layersAt returns the layers as of a revision that VisibleRevision returned.
func (r *Reader) layersAt(ctx context.Context, revision int64) (*layers.Layers, error) {
	if !r.cfg.Overrides() {
		return nil, nil
	}
	horizon := r.cfg.Horizon()
	if l, ok := r.layers.get(revision, horizon); ok {
		return l, nil
	}
	var all []*layers.Override
	for after := ""; ; {
		part, next, err := ListAt(ctx, r, logv1.Kind_KIND_OVERRIDE, revision, "", after, r.cfg.Limits.AtOnce, func(e *logv1.Event) (*layers.Override, bool) {
			o := overrideAfter(e, horizon)
			return o, o != nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
		if next == "" {
			break
		}
		after = next
	}
	var l *layers.Layers
	if len(all) > 0 {
		l = layers.New(all)
	}
	r.layers.put(pastLayers{revision, horizon, l})
	return l, nil
}

// layersOver is layersAt with no other overrides than those that cover a service.
func (r *Reader) layersOver(ctx context.Context, service string, revision int64) (*layers.Layers, error) {
	if !r.cfg.Overrides() {
		return nil, nil
	}
	horizon := r.cfg.Horizon()
	if l, ok := r.layers.get(revision, horizon); ok {
		return l, nil
	}
	var l *layers.Layers
	var err error
	pattern.Each(service, func(p string) bool {
		var e *logv1.Event
		if e, err = r.EventAt(ctx, logv1.Kind_KIND_OVERRIDE, p, revision); err != nil {
			return false
		}
		if o := overrideAfter(e, horizon); o != nil {
			l = l.With(o)
		}
		return true
	})
	return l, err
}

// overrideAfter returns the override that an event left; nil if it left none, or one that is not kept any more.
func overrideAfter(e *logv1.Event, horizon int64) *layers.Override {
	if e == nil || e.GetDeletes() || e.GetEnds() && e.GetRevision() < horizon {
		return nil
	}
	o := new(logv1.Override)
	if o.UnmarshalVT(e.GetAfter()) != nil {
		return nil // not of this binary, which then would not have started
	}
	return layers.NewOverride(e.GetKey(), o)
}
