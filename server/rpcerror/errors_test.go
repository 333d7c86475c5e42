package rpcerror

import (
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryReasonHasACode(t *testing.T) {
	for reason, code := range codeOf {
		err := ToStatus("n1", &Failure{Reason: reason, Message: "m"})
		if got := status.Code(err); got != code || code == codes.OK {
			t.Errorf("%s is %v, want %v", reason, got, code)
		}
	}
}
