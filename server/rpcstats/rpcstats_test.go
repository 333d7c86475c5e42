package rpcstats

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCodeSent(t *testing.T) {
	for err, want := range map[error]codes.Code{
		status.Error(codes.NotFound, ""): codes.NotFound,
		status.Error(codes.Code(99), ""): codes.Unknown, // no room for it, and none of gRPC's
		context.DeadlineExceeded:         codes.DeadlineExceeded,
		context.Canceled:                 codes.Canceled,
		fmt.Errorf("plain"):              codes.Unknown,
	} {
		if got := codeSent(err); got != want {
			t.Errorf("codeSent(%v) = %v, want %v", err, got, want)
		}
	}
}
