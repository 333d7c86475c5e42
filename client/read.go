package client

import (
	"context"
	"iter"
	"strconv"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Check asks one node for a status, as it knows it, or as [WithReadOptions] says. A service that does not exist is SERVICE_UNKNOWN
// with an *Error of code NOT_FOUND. The node's own names can be asked too.
func (c *Client) Check(ctx context.Context, service string) (Status, error) {
	var resp *healthpb.HealthCheckResponse
	op := operation{name: "check", service: service, about: true}
	read := readingOf(ctx)
	err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		resp, err = healthpb.NewHealthClient(conn).Check(read.Outgoing(ctx), &healthpb.HealthCheckRequest{Service: service}, read.callOptions()...)
		return err
	})
	read.done()
	if err != nil {
		return healthpb.HealthCheckResponse_SERVICE_UNKNOWN, err
	}
	return resp.GetStatus(), nil
}

// Get reads one service's record from one node, as that knows it, or as [WithReadOptions] says.
func (c *Client) Get(ctx context.Context, service string) (*rollcallv1.GetServiceResponse, error) {
	return c.GetAt(ctx, service, nil)
}

// GetAt is Get of a past moment; nil is now. An *Error with ReasonCompacted means that it is too long ago.
func (c *Client) GetAt(ctx context.Context, service string, at *rollcallv1.At) (*rollcallv1.GetServiceResponse, error) {
	var resp *rollcallv1.GetServiceResponse
	op := operation{name: "get", service: service, about: true}
	read := readingOf(ctx)
	err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		resp, err = rollcallv1.NewRegistryClient(conn).GetService(read.Outgoing(ctx), &rollcallv1.GetServiceRequest{Service: service, At: at}, read.callOptions()...)
		return err
	})
	read.done()
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// ListOptions choose what List gives. The zero value chooses everything.
type ListOptions struct {
	Prefix   string
	Statuses []Status // any of these; none: all
	PageSize int      // 1,000 if 0; at most 10,000
	// At is the past moment to list, all of it one cut; nil is now. Errors are those of GetAt.
	At *rollcallv1.At
	// AsOf, if not nil, is set to the revision that a page is as of, before its records are given; also
	// if there are none. With At it is the same for all.
	AsOf *int64
}

// AtRevision is the moment when the registry had this revision. Inside an atomic write it is the one
// before that write.
func AtRevision(revision int64) *rollcallv1.At {
	return &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: revision}}
}

// AtTime is the moment after the last write that is not later than t. If t is later than all that the
// node knows, that is now.
func AtTime(t time.Time) *rollcallv1.At {
	return &rollcallv1.At{At: &rollcallv1.At_Time{Time: timestamppb.New(t)}}
}

// List gives the records in the order of their names. Each page is one consistent cut; a page is
// never older than the one before it, also when it has to come from another node. How fresh it must be, [WithReadOptions] says. An error is the
// last that it gives, with a nil record.
func (c *Client) List(ctx context.Context, o ListOptions) iter.Seq2[*rollcallv1.ServiceRecord, error] {
	return func(yield func(*rollcallv1.ServiceRecord, error) bool) {
		req := &rollcallv1.ListServicesRequest{
			Prefix:   o.Prefix,
			Statuses: o.Statuses,
			At:       o.At,
			PageSize: int32(min(o.PageSize, 1<<30)), // beyond every limit: for the node to refuse
		}
		read := readingOf(ctx)
		for revision := int64(0); ; {
			var page *rollcallv1.ListServicesResponse
			err := c.run(ctx, operation{name: "list"}, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
				page, err = rollcallv1.NewRegistryClient(conn).ListServices(read.atLeast(ctx, revision), req, read.callOptions()...)
				return err
			})
			read.done()
			if err != nil {
				yield(nil, err)
				return
			}
			if o.AsOf != nil {
				*o.AsOf = page.GetRevision()
			}
			for _, record := range page.GetServices() {
				if !yield(record, nil) {
					return
				}
			}
			if page.GetNextPageToken() == "" {
				return
			}
			req.PageToken = page.GetNextPageToken()
			revision = max(revision, page.GetRevision())
		}
	}
}

// ClusterStatus is what the first endpoint that answers knows of all nodes.
func (c *Client) ClusterStatus(ctx context.Context) (*rollcallv1.GetStatusResponse, error) {
	var resp *rollcallv1.GetStatusResponse
	err := c.run(ctx, operation{name: "status"}, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		resp, err = rollcallv1.NewClusterClient(conn).GetStatus(ctx, &rollcallv1.GetStatusRequest{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// atLeast asks a node to answer only once it has seen revision.
func atLeast(ctx context.Context, revision int64) context.Context {
	if revision <= 0 {
		return ctx
	}
	return askRevision(ctx, revision)
}

// askRevision also makes the node tell its revision in a header.
func askRevision(ctx context.Context, revision int64) context.Context {
	return metadata.AppendToOutgoingContext(ctx, minRevisionKey, strconv.FormatInt(revision, 10))
}

// answeredAt reads the revision that a node was at from its headers.
func answeredAt(md metadata.MD) (int64, bool) {
	for _, v := range md.Get(revisionKey) {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= 0 {
			return n, true
		}
	}
	return 0, false
}

// Verify has one node ask every member for the hash of its registry after one log entry, and says whether
// all is the same. That they differ, or that not all told, is no error.
func (c *Client) Verify(ctx context.Context) (*rollcallv1.VerifyResponse, error) {
	var resp *rollcallv1.VerifyResponse
	err := c.run(ctx, operation{name: "verify"}, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		resp, err = rollcallv1.NewClusterClient(conn).Verify(ctx, &rollcallv1.VerifyRequest{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}
