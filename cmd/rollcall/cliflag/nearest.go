package cliflag

import (
	"strings"

	"github.com/spf13/pflag"
)

// NearestFlag returns the flag that a mistyped name was probably meant to be; "" if none is near.
func NearestFlag(flags *pflag.FlagSet, name string) string {
	// Of a short name almost everything is near: nothing is meant by -q.
	far := 3
	switch {
	case len(name) < 2:
		return ""
	case len(name) < 4:
		far = 2
	}
	best, distance := "", far
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		d := editDistance(name, f.Name)
		if strings.HasPrefix(f.Name, name) {
			d = 1
		}
		if d < distance {
			best, distance = f.Name, d
		}
	})
	return best
}

// editDistance returns Levenshtein's distance of two names, in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
