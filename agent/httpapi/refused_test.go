package httpapi

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestPageSaysWhatTheRegistryRefuses: all reports, or that of one service, and why nothing is heard.
func TestPageSaysWhatTheRegistryRefuses(t *testing.T) {
	withServices(t, func(t *testing.T, get func(target, accept string) *httptest.ResponseRecorder, f *fake) {
		if text := get("/", "").Body.String(); strings.Contains(text, "refuse") || strings.Contains(text, "does not take") {
			t.Errorf("nothing is refused:\n%s", text)
		}
		var plain map[string]any
		if err := json.Unmarshal(get("/", "application/json").Body.Bytes(), &plain); err != nil || plain["refused"] != nil {
			t.Errorf("%v, %v", plain["refused"], err)
		}
		since := time.Now().Add(-5 * time.Minute)
		f.refused = &Refusal{Reason: "TOKEN_REVOKED", Message: "the token was revoked\nby ann", Since: since}
		f.silent, f.why = 3*time.Minute, errors.New("watch names: the token\nwas revoked")
		f.services["web"].Refused = &Refusal{Reason: "DENIED", Message: "token:ci may not report web/10.0.0.7:8080", Since: since}
		for _, accept := range []string{"text/plain", "text/html"} {
			text := strings.ReplaceAll(get("/", accept).Body.String(), "&#39;", "'")
			for _, want := range []string{
				"; the registry refuses this agent's reports since 1999-12-31T23:59:12Z (5m0s ago): TOKEN_REVOKED: the token was revoked by ann",
				"and what it said last stays (watch names: the token was revoked)",
				"warning: the registry does not take what is reported of web/10.0.0.7:8080 since 1999-12-31T23:59:12Z (5m0s ago): DENIED: token:ci may not report web/10.0.0.7:8080",
			} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		}
		var page struct {
			Refused  struct{ Reason, Message, Since string }
			Why      string `json:"registry_silent_why"`
			Services []struct {
				Service string
				Refused *struct{ Reason string }
			}
		}
		if err := json.Unmarshal(get("/", "application/json").Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		if page.Refused.Reason != "TOKEN_REVOKED" || page.Refused.Since != "1999-12-31T23:59:12Z" || page.Why == "" {
			t.Errorf("%+v", page)
		}
		for _, s := range page.Services {
			if got := s.Refused != nil && s.Refused.Reason == "DENIED"; got != (s.Service == "web") {
				t.Errorf("%s: %+v", s.Service, s.Refused)
			}
		}
	})
}
