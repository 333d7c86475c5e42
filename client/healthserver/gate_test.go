package healthserver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// call sends a call of method through both gates. served says whether the handlers ran.
func call(t testing.TB, ctx context.Context, s *Server, method string) (served bool, err error) {
	t.Helper()
	_, err = s.UnaryGate(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
		served = true
		return nil, nil
	})
	streamed := false
	streamErr := s.StreamGate(nil, &stream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: method}, func(any, grpc.ServerStream) error {
		streamed = true
		return nil
	})
	if streamed != served || !errors.Is(streamErr, err) && status.Code(streamErr) != status.Code(err) {
		t.Errorf("unary: %v, %v; stream: %v, %v", served, err, streamed, streamErr)
	}
	return served, err
}

func TestGate(t *testing.T) {
	const method = "/shop.v1.Cart/Add"
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.say(map[string]opinion{service: absent(), instance: absent()})
		s := mustNew(t, withRegistry(src, &fakeLease{}), WithInstance(address))
		run(t, s)
		pass := func(method string) {
			t.Helper()
			if served, err := call(t, t.Context(), s, method); !served || err != nil {
				t.Errorf("%s: %v, %v", method, served, err)
			}
		}
		pass(method)
		s.Shutdown() // the process stops, and serves what still comes
		pass(method)
		s.Resume()
		for _, opinions := range []map[string]opinion{
			{service: report(client.NotServing, ""), instance: absent()},
			{service: absent(), instance: overridden(client.NotServing)},
		} {
			src.say(opinions)
			synctest.Wait()
			served, err := call(t, t.Context(), s, method)
			if served || status.Code(err) != codes.Unavailable {
				t.Errorf("while off: %v, %v", served, err)
			}
			info, _ := status.Convert(err).Details()[0].(*errdetails.ErrorInfo)
			if info.GetReason() != "TARGET_NOT_SERVING" || info.GetMetadata()["service"] != service {
				t.Errorf("the error says %v", info)
			}
			for _, method := range []string{
				"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List",
				"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
			} {
				pass(method)
			}
		}
		src.say(map[string]opinion{service: absent(), instance: report(client.NotServing, "lease-1")})
		synctest.Wait()
		pass(method)
	})
}

// A healthy process that starts fails no call, and one that is switched off takes none.
func TestGateWaitsForTheFirstOpinion(t *testing.T) {
	const method = "/shop.v1.Cart/Add"
	for _, test := range []struct {
		name    string
		opinion map[string]opinion // after 100 ms; nil: silence
		timeout time.Duration
		after   time.Duration
		want    codes.Code
	}{
		{"on", map[string]opinion{service: absent()}, time.Minute, 100 * time.Millisecond, codes.OK},
		{"off", map[string]opinion{service: report(client.NotServing, "")}, time.Minute, 100 * time.Millisecond, codes.Unavailable},
		{"silence", nil, time.Minute, defaultInitialWait, codes.OK},
		{"the caller gives up", nil, 50 * time.Millisecond, 50 * time.Millisecond, codes.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFakeSource()
				s := mustNew(t, withRegistry(src, &fakeLease{}))
				run(t, s)
				if test.opinion != nil {
					time.AfterFunc(100*time.Millisecond, func() { src.say(test.opinion) })
				}
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()
				start := time.Now()
				served, err := call(t, ctx, s, method)
				if took := time.Since(start); took != test.after || status.Code(err) != test.want || served != (err == nil) {
					t.Errorf("after %v: %v, %v", took, served, err)
				}
			})
		})
	}
}
