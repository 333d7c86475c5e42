package forward

import (
	"errors"
	"testing"
	"testing/synctest"
)

// TestRoomAfterRefusals: a stream whose room refused commands took is read again when their answers are taken out,
// even if nothing else is answered.
func TestRoomAfterRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewCalls(t.Context(), 3)
		s.Refuse(Refusal{IDs: []uint64{1, 2}, Err: errors.New("too many")})
		if !s.AwaitRoom() {
			t.Fatal("the stream ended")
		}
		s.Refuse(Refusal{IDs: []uint64{3}, Err: errors.New("too many")})
		room := make(chan bool, 1)
		go func() { room <- s.AwaitRoom() }()
		synctest.Wait()
		select {
		case <-room:
			t.Error("it is read beyond its limit")
		default:
		}
		if got := len(s.Refusals()); got != 2 {
			t.Errorf("%d refusals", got)
		}
		synctest.Wait()
		select {
		case ok := <-room:
			if !ok {
				t.Error("the stream ended")
			}
		default:
			t.Error("the stream is not read any more")
		}
		s.Close()
		s.Wake()
		s.Next()
	})
}
