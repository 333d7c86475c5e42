package cliflag

import "testing"

func TestBytes(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "1000": "1000", "1024": "1KiB", "768MiB": "768MiB", "2048MiB": "2GiB", "1 GiB": "1GiB", "1536MiB": "1536MiB",
	} {
		var n int64
		if err := Bytes(&n).Set(in); err != nil || Bytes(&n).String() != want {
			t.Errorf("%q: %d, %v, shown as %q; want %q", in, n, err, Bytes(&n).String(), want)
		}
	}
	for _, in := range []string{"", "-1", "MiB", "1MB", "1.5GiB", "9999999999GiB", "0x10"} {
		n := int64(7)
		if err := Bytes(&n).Set(in); err == nil || n != 7 {
			t.Errorf("%q: %d, %v; want an error", in, n, err)
		}
	}
}
