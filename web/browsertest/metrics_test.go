package browsertest_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// metric is the value of a metric of a node: the sum of its samples.
func (n *node) metric(t testing.TB, name string) float64 {
	t.Helper()
	v, err := n.sample(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (n *node) sample(name string) (float64, error) {
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	r, err := http.NewRequest("GET", n.url("/metrics"), nil)
	if err != nil {
		return 0, err
	}
	if n.admin != "" {
		r.Header.Set("Authorization", "Bearer "+n.admin)
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var sum float64
	found := false
	for s := bufio.NewScanner(answer.Body); s.Scan(); {
		key, value, ok := strings.Cut(s.Text(), " ")
		if base, _, _ := strings.Cut(key, "{"); !ok || base != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.Text(), err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("%s: no metric %s: %s", n.name, name, answer.Status)
	}
	return sum, nil
}
