package node

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/internal/tlstest"
)

// TestCertificatesThatEndSoonAreTold in the status of the member, where a person sees it.
func TestCertificatesThatEndSoonAreTold(t *testing.T) {
	ca := tlstest.NewCA(t, "ca")
	n := &Node{}
	if got := n.certificateAlarm(time.Now()); got != "" {
		t.Errorf("in plain text: %q", got)
	}
	n.tls.source = tlstest.Open(t, ca.Issue([]string{"n1"}, tlstest.ExpiresIn(100*24*time.Hour)))
	for after, want := range map[time.Duration]string{
		0:                    "",
		90 * 24 * time.Hour:  "",
		94 * 24 * time.Hour:  "its certificate expires at ",
		101 * 24 * time.Hour: "its certificate has expired: put a new one",
	} {
		if got := n.certificateAlarm(time.Now().Add(after)); (want == "") != (got == "") || !strings.HasPrefix(got, want) {
			t.Errorf("after %v: %q, want %q", after, got, want)
		}
	}
}

// TestTheEndOfTheCertificateIsKnown and no CA's that the node only believes.
func TestTheEndOfTheCertificateIsKnown(t *testing.T) {
	n := &Node{}
	if got := n.certificateExpires(); !got.IsZero() {
		t.Errorf("in plain text: %v", got)
	}
	ca := tlstest.NewCA(t, "ca")
	n.tls.source = tlstest.Open(t, ca.Issue([]string{"n1"}, tlstest.ExpiresIn(time.Hour)))
	if left := time.Until(n.certificateExpires()); left < 55*time.Minute || left > 65*time.Minute {
		t.Errorf("ends in %v, want an hour", left)
	}
}

// TestNoClientIsAMember: also where members share one certificate.
func TestNoClientIsAMember(t *testing.T) {
	names := TLS{SharedPeerIdentity: true}.names()
	if names == nil {
		t.Fatal("each certificate of the CAs is taken for that of a member, those of clients too")
	}
	if names(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, "n1") == nil {
		t.Error("a client's certificate is taken for that of a member")
	}
}
