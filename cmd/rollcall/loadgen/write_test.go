package loadgen

import "testing"

// Whatever overtakes what, every write must change something: each service has one writer, who
// alternates.
func TestBenchWritesAlternate(t *testing.T) {
	for _, test := range []struct{ writers, services, batch int }{{1, 1, 1}, {3, 10, 1}, {4, 10, 2}, {3, 9, 3}} {
		load := &WriteLoad{Load: Load{Callers: test.writers}, Services: test.services, Own: &Services{Prefix: "p/"}}
		owner, last := map[string]int{}, map[string]string{}
		for w := range test.writers {
			for n := range 5 * test.services {
				service, status := load.change(w, n)
				if before, ok := owner[service]; ok && before != w {
					t.Fatalf("%+v: %s belongs to %d and %d", test, service, before, w)
				}
				if last[service] == status.String() {
					t.Fatalf("%+v: %s is %s twice in a row", test, service, status)
				}
				owner[service], last[service] = w, status.String()
			}
		}
		if len(owner) != test.services {
			t.Errorf("%+v: %d services are written", test, len(owner))
		}
	}
}
