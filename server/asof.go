package server

import (
	"context"
	"errors"
	"strconv"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// asOf is the point in time of a read: a revision, which was not within an atomic write.
type asOf struct{ revision int64 }

// resolve returns the point in time that at names. at is valid and is not empty.
func (s *registryService) resolve(ctx context.Context, at *rollcallv1.At) (*asOf, error) {
	var revision int64
	var err error
	switch at := at.GetAt().(type) {
	case *rollcallv1.At_Revision:
		if current := s.registry.Revision(); at.Revision > current {
			return nil, ahead(at.Revision, current)
		}
		revision, err = s.history.VisibleRevision(ctx, at.Revision)
	case *rollcallv1.At_Time:
		if f := s.inFuture(at.Time.AsTime()); f != nil {
			return nil, f
		}
		revision, err = s.history.RevisionAt(ctx, at.Time.AsTime().UnixNano())
		if c := (*logv1.CompactedError)(nil); errors.As(err, &c) {
			return nil, notKept(c, "at.time "+at.Time.AsTime().Format(time.RFC3339Nano)+" is before that")
		}
	}
	if err != nil {
		return nil, s.historyError(err)
	}
	return &asOf{revision}, nil
}

// pageAsOf returns the point in time of a page. All pages have that of the first one, which the page token
// carries: at. On the first page at is nil.
func (s *registryService) pageAsOf(ctx context.Context, req *rollcallv1.ListServicesRequest, at *asOf) (*asOf, error) {
	if at == nil {
		return s.resolve(ctx, req.GetAt())
	}
	if s.registry.Revision() < at.revision {
		if f := s.WaitRevision(ctx, at.revision); f != nil {
			return nil, f
		}
	}
	return at, nil
}

// timeTolerance is how far ahead of the cluster's clock a time may be that a read asks for. It is taken as now.
// The caller's clock may be ahead a little.
const timeTolerance = time.Second

// inFuture refuses a time that has not come yet: what the registry will be then is not known. The clock is the
// cluster's, so that a wrong clock of this node, or of the caller, is seen as one.
func (s *registryService) inFuture(asked time.Time) *rpcerror.Failure {
	now := time.Unix(0, s.logClock()).UTC()
	if !asked.After(now.Add(timeTolerance)) {
		return nil
	}
	return &rpcerror.Failure{
		Reason: rpcerror.ReasonTimeAhead,
		Message: "at.time is " + asked.Format(time.RFC3339Nano) + ", which is in the future: the cluster's clock says " +
			now.Format(time.RFC3339Nano),
	}
}

func ahead(asked, current int64) *rpcerror.Failure {
	at := strconv.FormatInt(current, 10)
	return &rpcerror.Failure{
		Reason: rpcerror.ReasonAhead,
		Message: "at.revision is " + strconv.FormatInt(asked, 10) + ", and this node is at revision " + at +
			"; to wait for it send " + freshness.MetadataMinRevision,
		Meta: map[string]string{rpcerror.MetaCurrentRevision: at},
	}
}

// historyError turns an error of History into what the caller is told.
func (s *registryService) historyError(err error) error {
	if s.Ending.Err() != nil && errors.Is(err, context.Canceled) {
		return rpcerror.ErrStopping
	}
	return compacted(err)
}

func (vs *violations) at(at *rollcallv1.At) {
	switch at := at.GetAt().(type) {
	case *rollcallv1.At_Revision:
		vs.revision("at.revision", at.Revision)
	case *rollcallv1.At_Time:
		vs.timestamp("at.time", at.Time)
	}
}

// boundRead bounds a read of the history by its deadline, and by the end of the node.
func (s *registryService) boundRead(ctx context.Context) (context.Context, func()) {
	ctx, cancel := deadline.Answerable(ctx, s.Timeout)
	stop := context.AfterFunc(s.Ending, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
