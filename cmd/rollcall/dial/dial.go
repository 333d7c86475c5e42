package dial

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/internal/connfailure"
)

// Wait returns nil once conn is ready. It returns an error if the first attempt failed, or after timeout.
func Wait(ctx context.Context, conn *grpc.ClientConn, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn.Connect()
	for {
		switch state := conn.GetState(); state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure:
			return lastError(ctx, conn)
		default:
			if !conn.WaitForStateChange(ctx, state) {
				return fmt.Errorf("no connection within %s", timeout)
			}
		}
	}
}

// lastError makes a call that fails at once: gRPC tells the cause of a failed connection in no other way.
func lastError(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err == nil {
		return errors.New("the connection failed at first and came up later")
	}
	return errors.New(connfailure.Text(status.Convert(err).Message()))
}
