package history

import (
	"context"
	"slices"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/convert"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Status is the standard's status.
type Status = healthpb.HealthCheckResponse_ServingStatus

// RevisionAt returns the registry's revision at a time, in Unix nanoseconds of log time.
func (r *Reader) RevisionAt(ctx context.Context, time int64) (revision int64, err error) {
	ctx = ofCall(ctx)
	for {
		now := r.cfg.Revision()
		span, err := r.stored(ctx, reading{}, func(ctx context.Context) (span logv1.EventSpan, _ int, err error) {
			revision, span, err = r.cfg.RegistryFile.RevisionAt(ctx, time)
			return span, 0, err
		})
		switch {
		case err != nil:
			return revision, err
		case revision < span.Oldest && revision < now && span.Oldest > 1:
			return 0, &logv1.CompactedError{Asked: span.Oldest - 1, Oldest: span.Oldest}
		case revision < span.Newest || span.Newest >= now:
			return revision, nil
		}
		// It may be a newer revision, which the registry file does not hold yet.
		if err := r.cfg.RegistryFile.AwaitDurable(ctx, now); err != nil {
			return 0, err
		}
	}
}

// VisibleRevision returns the newest revision at or below the given one that a reader could see: not one
// within an atomic write. This node must have reached revision.
func (r *Reader) VisibleRevision(ctx context.Context, revision int64) (visible int64, err error) {
	if err := r.cfg.RegistryFile.AwaitDurable(ctx, revision); err != nil {
		return 0, err
	}
	ctx = ofCall(ctx)
	visible = revision
	var span logv1.EventSpan
	for turn, more := 0, true; more; turn++ {
		visits := r.throttle.visits(turn, r.cfg.Limits.AtOnce)
		at, visited := visible, 0
		span, err = r.stored(ctx, reading{}, func(ctx context.Context) (span logv1.EventSpan, _ int, err error) {
			at, visited, more = visible, 0, false
			if at == 0 {
				span, err = r.span(ctx)
				return span, 0, err
			}
			q := logv1.EventQuery{From: 1, To: at, Descending: true}
			span, err = r.cfg.RegistryFile.Events(ctx, q, func(e *logv1.Event) (bool, error) {
				if e.GetRevision() != at || e.GetRevision() >= e.GetCommitRevision() {
					return false, nil // the end of a write; below the horizon there are gaps
				}
				at--
				visited++
				more = visited == visits
				return !more, nil
			})
			return span, 0, err
		})
		if err != nil {
			return 0, err
		}
		visible = at
	}
	return visible, beforeHorizon(err, revision, visible, span)
}

// beforeHorizon returns err or, if revision is below the horizon, that the registry of then is not kept.
func beforeHorizon(err error, asked, revision int64, span logv1.EventSpan) error {
	if err == nil && revision < span.Oldest-1 {
		return &logv1.CompactedError{Asked: asked, Oldest: span.Oldest}
	}
	return err
}

// EventAt returns the newest event of a record of any kind at or below a revision that VisibleRevision
// returned: what the record was then. nil: it did not exist, or has no event; one that deletes: it did not
// exist any more.
func (r *Reader) EventAt(ctx context.Context, kind logv1.Kind, key string, revision int64) (found *logv1.Event, err error) {
	span, err := r.stored(ofCall(ctx), reading{most: 1}, func(ctx context.Context) (span logv1.EventSpan, _ int, err error) {
		found = nil
		if revision == 0 {
			span, err = r.span(ctx)
			return span, 0, err
		}
		q := logv1.EventQuery{From: 1, To: revision, Kind: kind, Key: key, Descending: true}
		span, err = r.cfg.RegistryFile.Events(ctx, q, func(e *logv1.Event) (bool, error) {
			found = e
			return false, nil
		})
		return span, 1, err
	})
	return found, beforeHorizon(err, revision, revision, span)
}

// GetServiceAt returns what the registry held of name at a revision that VisibleRevision returned; nil if
// nothing.
func (r *Reader) GetServiceAt(ctx context.Context, name string, revision int64) (*rollcallv1.ServiceRecord, error) {
	ctx = ofCall(ctx)
	e, err := r.EventAt(ctx, logv1.Kind_KIND_SERVICE, name, revision)
	if e == nil || err != nil {
		return nil, err
	}
	s := convert.ServiceAfter(e)
	if s == nil {
		return nil, nil
	}
	over, err := r.layersOver(ctx, name, revision)
	if err != nil {
		return nil, err
	}
	over.Show(s)
	record := s.Public()
	return record, r.showLeases(ctx, revision, []*rollcallv1.ServiceRecord{record})
}

// ListServicesAt returns the services as of a revision that VisibleRevision returned: by name, at most limit
// (at least 1) of those whose names are within some spans and come after the name after, with one of statuses, or
// any if none is given. next is the after of the next call, "" if nothing follows; it may be set with fewer
// records than asked for, or none, when a filter skipped very many.
func (r *Reader) ListServicesAt(ctx context.Context, revision int64, within pattern.Spans, after string, limit int, statuses []Status) (records []*rollcallv1.ServiceRecord, next string, err error) {
	over, err := r.layersAt(ctx, revision)
	if err != nil {
		return nil, "", err
	}
	ctx = ofCall(ctx)
	limit = max(limit, 1)
	pick := func(e *logv1.Event) (*rollcallv1.ServiceRecord, bool) {
		s := convert.ServiceAfter(e)
		if s == nil {
			return nil, false
		}
		over.Show(s)
		return s.Public(), len(statuses) == 0 || slices.Contains(statuses, s.Effective)
	}
	for i, span := range within {
		from := ""
		switch {
		case span.Has(after):
			from = after
		case after > span.From:
			continue // the span is before it
		}
		part, at, err := r.listSpanAt(ctx, revision, span, from, limit-len(records), pick)
		if err != nil {
			return nil, "", err
		}
		records = append(records, part...)
		if len(records) == limit && at == "" && i+1 < len(within) {
			at = records[limit-1].GetService()
		}
		if next = at; next != "" {
			break
		}
	}
	return records, next, r.showLeases(ctx, revision, records)
}

// listSpanAt is ListAt of the services within one span.
func (r *Reader) listSpanAt(ctx context.Context, revision int64, span pattern.Span, after string, limit int, pick func(*logv1.Event) (*rollcallv1.ServiceRecord, bool)) (records []*rollcallv1.ServiceRecord, next string, err error) {
	if !span.Single() {
		return ListAt(ctx, r, logv1.Kind_KIND_SERVICE, revision, span.From, after, limit, pick)
	}
	if after == span.From {
		return nil, "", nil
	}
	e, err := r.EventAt(ctx, logv1.Kind_KIND_SERVICE, span.From, revision)
	if e == nil || err != nil {
		return nil, "", err
	}
	if record, ok := pick(e); ok {
		records = append(records, record)
	}
	return records, "", nil
}

// ListAt is EventAt for the records of a kind: by key, at most limit (at least 1) of those whose keys begin
// with prefix and come after the key after, and that pick wants, as pick returns them. next is as for
// ListServicesAt.
func ListAt[T any](ctx context.Context, r *Reader, kind logv1.Kind, revision int64, prefix, after string, limit int, pick func(*logv1.Event) (T, bool)) (records []T, next string, err error) {
	ctx = ofCall(ctx)
	limit = max(limit, 1)
	visits := r.cfg.Limits.Visited
	for turn := 0; ; turn++ {
		var part []T
		var visited int
		var more bool
		last := after
		atOnce := min(r.throttle.visits(turn, r.cfg.Limits.AtOnce), visits)
		span, err := r.stored(ctx, reading{most: min(limit-len(records), atOnce)}, func(ctx context.Context) (logv1.EventSpan, int, error) {
			part, visited, more, last = nil, 0, false, after
			span, err := r.cfg.RegistryFile.EventsAt(ctx, kind, revision, prefix, after, atOnce, func(e *logv1.Event) (bool, error) {
				visited++
				if record, ok := pick(e); ok {
					if len(records)+len(part) == limit {
						more = true
						return false, nil
					}
					part = append(part, record)
				}
				last = e.GetKey()
				return true, nil
			})
			return span, len(part), err
		})
		if err := beforeHorizon(err, revision, revision, span); err != nil {
			return nil, "", err
		}
		visits -= visited
		after = last
		records = append(records, part...)
		switch {
		case !more && visited < atOnce:
			return records, "", nil
		case more || visits <= 0:
			return records, after, nil
		}
	}
}
