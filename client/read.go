package client

import (
	"context"
	"iter"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Check asks one node for a status, as it knows it, or as [WithReadOptions] says. A service that does not
// exist is SERVICE_UNKNOWN with an *Error of code NOT_FOUND. The node's own names can be asked too.
func (c *Client) Check(ctx context.Context, service string) (Status, error) {
	op := operation{name: "check", service: service, about: true}
	read := c.newReading(ctx, &op, false)
	a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
		return healthpb.NewHealthClient(conn).Check(read.outgoing(ctx), &healthpb.HealthCheckRequest{Service: service}, o...)
	})
	read.done(a)
	if err != nil {
		return healthpb.HealthCheckResponse_SERVICE_UNKNOWN, err
	}
	return a.message.(*healthpb.HealthCheckResponse).GetStatus(), nil
}

// Get reads one service's record from one node, as that knows it, or as [WithReadOptions] says.
func (c *Client) Get(ctx context.Context, service string) (*rollcallv1.GetServiceResponse, error) {
	return c.GetAt(ctx, service, nil)
}

// GetAt is Get as of a point in time; nil is now. An *Error with ReasonCompacted means that it is too long
// ago.
func (c *Client) GetAt(ctx context.Context, service string, at *rollcallv1.At) (*rollcallv1.GetServiceResponse, error) {
	op := operation{name: "get", service: service, about: true}
	read := c.newReading(ctx, &op, isRevision(at))
	a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
		return rollcallv1.NewRegistryClient(conn).GetService(read.outgoing(ctx), &rollcallv1.GetServiceRequest{Service: service, At: at}, o...)
	})
	read.done(a)
	if err != nil {
		return nil, err
	}
	resp := a.message.(*rollcallv1.GetServiceResponse)
	c.learnCluster(resp.GetClusterId())
	return resp, nil
}

// ListOptions choose what List gives. The zero value chooses everything.
type ListOptions struct {
	Prefix   string
	Statuses []Status // any of these; none: all
	PageSize int      // 1,000 if 0; at most 10,000
	// At is the point in time to list, all of it one cut; nil is now. Errors are those of GetAt.
	At *rollcallv1.At
	// Page, if not nil, is set to what is known of a page before its records are given; also if there are none.
	Page *ListPage
}

// ListPage is what the records of a page of List are as of.
type ListPage struct {
	Revision int64 // of this page; with ListOptions.At the same for all
	// First is that of the first page: the list shows at least all changes up to it.
	First   int64
	Cluster string // that the revisions belong to
}

// AtRevision is the point in time when the registry had this revision. A revision inside an atomic write
// stands for the one before that write.
func AtRevision(revision int64) *rollcallv1.At {
	return &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: revision}}
}

// AtTime is the point in time after the last write that is not later than t. A t in the future is refused with
// ReasonTimeAhead; up to a second ahead of the cluster's clock it is taken as now.
func AtTime(t time.Time) *rollcallv1.At {
	return &rollcallv1.At{At: &rollcallv1.At_Time{Time: timestamppb.New(t)}}
}

// isRevision reports whether at is a revision, which belongs to one cluster.
func isRevision(at *rollcallv1.At) bool {
	_, ok := at.GetAt().(*rollcallv1.At_Revision)
	return ok
}

// List gives the records in the order of their names. Each page is one consistent cut. A page is never older
// than the one before it, also when it comes from another node. [WithReadOptions] says how fresh they must
// be. An error is the last that it gives, with a nil record.
func (c *Client) List(ctx context.Context, o ListOptions) iter.Seq2[*rollcallv1.ServiceRecord, error] {
	return func(yield func(*rollcallv1.ServiceRecord, error) bool) {
		req := &rollcallv1.ListServicesRequest{
			Prefix:   o.Prefix,
			Statuses: o.Statuses,
			At:       o.At,
			PageSize: int32(min(o.PageSize, 1<<30)), // beyond every limit: for the node to refuse
		}
		op := operation{name: "list"}
		read := c.newReading(ctx, &op, isRevision(o.At))
		for revision := int64(0); ; {
			a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
				return rollcallv1.NewRegistryClient(conn).ListServices(read.atLeast(ctx, revision), req, o...)
			})
			read.done(a)
			if err != nil {
				yield(nil, err)
				return
			}
			page := a.message.(*rollcallv1.ListServicesResponse)
			c.learnCluster(page.GetClusterId())
			op.cluster = page.GetClusterId()
			if o.Page != nil {
				if req.GetPageToken() == "" {
					o.Page.First = page.GetRevision()
				}
				o.Page.Revision, o.Page.Cluster = page.GetRevision(), page.GetClusterId()
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
