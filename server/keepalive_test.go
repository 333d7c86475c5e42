package server

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestKeepaliveIsEnforced: a watcher may ping every five seconds, also between its watches, and one that does
// so much more often is hung up on.
func TestKeepaliveIsEnforced(t *testing.T) {
	for name, tt := range map[string]struct {
		every time.Duration
		stays bool
	}{
		"every 6 s":    {6 * time.Second, true},
		"every second": {time.Second, false},
	} {
		bubble(t, name, func(t *testing.T) {
			r := newRawCall(t, single(t))
			var writing sync.Mutex
			acks, ended := 0, make(chan struct{})
			go func() {
				defer close(ended)
				for {
					frame, err := r.fr.ReadFrame()
					if err != nil {
						return
					}
					writing.Lock()
					switch f := frame.(type) {
					case *http2.SettingsFrame:
						if !f.IsAck() {
							_ = r.fr.WriteSettingsAck()
						}
					case *http2.PingFrame:
						if f.IsAck() {
							acks++
						} else {
							_ = r.fr.WritePing(true, f.Data)
						}
					case *http2.GoAwayFrame:
						writing.Unlock()
						return
					}
					writing.Unlock()
				}
			}()
			writing.Lock()
			err := r.begin()
			writing.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			const pings = 20
			stays := true
			for range pings {
				select {
				case <-ended:
					stays = false
				case <-time.After(tt.every):
				}
				if !stays {
					break
				}
				writing.Lock()
				_ = r.fr.WritePing(false, [8]byte{1}) // if it fails, the reader sees why
				writing.Unlock()
			}
			if stays != tt.stays {
				t.Errorf("the connection stays: %v, want %v", stays, tt.stays)
			}
			r.conn.Close()
			<-ended
			if tt.stays && acks < pings-1 {
				t.Errorf("%d of %d pings were answered", acks, pings)
			}
		})
	}
}
