package connlimit

import "testing"

func TestPlan(t *testing.T) {
	want := Connections{API: 10_000, Peer: 256, HTTP: 256}
	for files, plan := range map[int]Connections{
		0:       want,
		1 << 20: want,
		20_000:  want,
		10_000:  {API: 9_232, Peer: 256, HTTP: 256},
		1_024:   {API: 384, Peer: 192, HTTP: 192},
		256:     {API: 64, Peer: 32, HTTP: 32},
		64:      {API: 16, Peer: 8, HTTP: 8},
		1:       {API: 1, Peer: 1, HTTP: 1},
	} {
		if got := Plan(files, want); got != plan {
			t.Errorf("of %d files: %+v, want %+v", files, got, plan)
		}
	}
	if got := Plan(1_024, Connections{API: 5, Peer: 9, HTTP: 7}); got != (Connections{API: 5, Peer: 9, HTTP: 7}) {
		t.Errorf("where little is wanted: %+v", got)
	}
	if got, want := Plan(1_024, Connections{API: 10_000, Peer: 256, HTTP: 256, Handshakes: 1_408}), (Connections{API: 192, Peer: 192, HTTP: 192, Handshakes: 192}); got != want {
		t.Errorf("with TLS: %+v, want %+v", got, want)
	}
	for files := 16; files < 5_000; files++ {
		if p := Plan(files, want); p.API+p.Peer+p.HTTP+min(ownFiles, files/2) > files {
			t.Fatalf("of %d files: %+v", files, p)
		}
	}
}
