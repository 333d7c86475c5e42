package registry

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"go.etcd.io/bbolt"
)

// inUse is which part of a bucket's leaves is used, and of how many bytes.
func inUse(t *testing.T, j *File, bucket []byte) (part float64, bytes int) {
	t.Helper()
	err := j.db.View(func(tx *bbolt.Tx) error {
		s := tx.Bucket(bucket).Stats()
		part, bytes = float64(s.LeafInuse)/float64(s.LeafAlloc), s.LeafInuse
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return part, bytes
}

// TestPagesAreFull: what is loaded in order leaves no pages half empty, and what grows anywhere leaves them
// no emptier than halving does.
func TestPagesAreFull(t *testing.T) {
	o := Options{FlushBytes: 1 << 30, FlushInterval: 1 << 40, MaxBacklogBytes: 1 << 30}
	for _, ordered := range []bool{true, false} {
		t.Run(fmt.Sprintf("in order %v", ordered), func(t *testing.T) {
			d := openDisk(t, t.TempDir(), o)
			defer d.close()
			const services, batch = 20_000, 500
			w := &workload{rng: rand.New(rand.NewPCG(1, 2)), services: services}
			places := w.rng.Perm(services)
			for i := range services / batch {
				delta := w.delta(batch, false)
				for k, e := range delta.Events {
					if !ordered {
						e.Key = fmt.Sprintf("shop/checkout/svc-%07d", places[i*batch+k])
						delta.Records[k].Key = e.Key
					}
				}
				d.registryFile.Append(delta)
				d.flush()
			}
			least := 0.6
			if ordered {
				least = 0.85
			}
			for _, bucket := range [][]byte{bucketServices, bucketEventsByKey} {
				if part, _ := inUse(t, d.registryFile, bucket); part < least {
					t.Errorf("of %s %.2f is in use", bucket, part)
				}
			}
			for range 60 {
				for _, delta := range w.singles(500) {
					d.registryFile.Append(delta)
				}
				d.flush()
			}
			// The records grew by a third, of the request id: what was full is halved at about the same time.
			for bucket, least := range map[string]float64{"kind.1": 0.5, "events_by_key": 0.55, "events": 0.93, "kind.3": 0.85} {
				part, bytes := inUse(t, d.registryFile, []byte(bucket))
				t.Logf("%s: %d KiB, of which %.2f is in use", bucket, bytes>>10, part)
				if part < least {
					t.Errorf("of %s %.2f is in use after the updates", bucket, part)
				}
			}
		})
	}
}

func TestByteArena(t *testing.T) {
	var s byteArena
	for range 3 {
		want, have := [][]byte{}, [][]byte{}
		for i := range 200 {
			one := bytes.Repeat([]byte{byte(i)}, 37*i%9000)
			if i == 100 {
				one = bytes.Repeat([]byte{1}, 2*arenaChunkBytes)
			}
			want = append(want, one)
			have = append(have, s.take(append(s.room(len(one)+40), one...)))
		}
		for i := range want {
			if !bytes.Equal(have[i], want[i]) {
				t.Fatalf("value %d is not what was put", i)
			}
		}
		if s.reset(); len(s.chunks) > keptChunks || cap(s.chunks[0]) != arenaChunkBytes {
			t.Errorf("%d chunks are kept", len(s.chunks))
		}
	}
}
