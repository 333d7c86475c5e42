package rest

import (
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// renew renews the lease that stands in the path: one message of the stream KeepAlive. A lease that is lost, or that could
// not be renewed, is an error.
func (h *Handler) renew(w http.ResponseWriter, r *http.Request, path map[string]string) {
	c := callOf(r.Context())
	if err := c.fill(&rollcallv1.GetAuthRequest{}); err != nil { // which has no fields
		WriteError(w, r, err)
		return
	}
	id := path["lease_id"]
	var answer *rollcallv1.KeepAliveResponse
	err := h.cfg.Conn.Stream(r.Context(), rollcallv1.Admin_KeepAlive_FullMethodName, &rollcallv1.KeepAliveRequest{LeaseIds: []string{id}},
		func(_ metadata.MD, m proto.Message) error {
			answer = proto.CloneOf(m).(*rollcallv1.KeepAliveResponse)
			return nil
		})
	switch {
	case err != nil:
	case answer == nil:
		err = status.Error(codes.Internal, "the renewal has no answer")
	case len(answer.GetLostLeaseIds()) > 0:
		err = &rpcerror.Failure{Reason: rpcerror.ReasonNotFound, Meta: map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo, rpcerror.MetaLease: id},
			Message: "lease " + rpcerror.QuoteShort(id) + " has ended, never was, or is of another identity; grant a new one"}
	case len(answer.GetWaitingLeaseIds()) > 0:
		f := rpcerror.NotWritten("lease %s could not be renewed: nobody leads, or the leader did not answer in time; try again", rpcerror.QuoteShort(id))
		f.Meta[rpcerror.MetaLease] = id
		err = f
	}
	if err != nil {
		WriteError(w, r, err)
		return
	}
	body, err := marshaler{}.Marshal(answer)
	if err != nil {
		WriteError(w, r, err)
		return
	}
	_ = c.out.send(http.StatusOK, body)
}
