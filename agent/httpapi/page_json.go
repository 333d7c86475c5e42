package httpapi

import (
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/view"
)

// The JSON of the page. Its rules are those of docs/json.md, and its fields are described in docs/agent.md.

type jsonPage struct {
	Time     time.Time     `json:"time"`
	Ready    bool          `json:"ready"`
	NotReady string        `json:"not_ready,omitempty"`
	Silent   float64       `json:"registry_silent_seconds"`
	Why      string        `json:"registry_silent_why,omitempty"`
	Refused  *jsonRefusal  `json:"refused,omitempty"` // all reports
	Services []jsonService `json:"services"`
}

type jsonService struct {
	Service  string          `json:"service"`
	Instance string          `json:"instance"`
	Status   string          `json:"status"`
	Since    *time.Time      `json:"since,omitempty"`
	Reasons  []string        `json:"reasons"`
	Waiting  bool            `json:"waiting"`
	Rival    string          `json:"rival,omitempty"`   // who else reports the instance
	Refused  *jsonRefusal    `json:"refused,omitempty"` // the newest report
	Own      jsonWord        `json:"own"`
	Pushed   *jsonWord       `json:"pushed,omitempty"`
	Registry []jsonOpinion   `json:"registry"`
	Checks   []checks.Result `json:"checks"`
}

type jsonRefusal struct {
	Reason  string     `json:"reason"`
	Message string     `json:"message"`
	Since   *time.Time `json:"since,omitempty"`
}

func (r *Refusal) json() *jsonRefusal {
	if r == nil {
		return nil
	}
	return &jsonRefusal{Reason: r.Reason, Message: r.Message, Since: known(r.Since)}
}

type jsonWord struct {
	Status string     `json:"status"`
	Reason string     `json:"reason"`
	Since  *time.Time `json:"since,omitempty"`
}

type jsonOpinion struct {
	Service  string        `json:"service"`
	Heard    bool          `json:"heard"`
	HeardAt  *time.Time    `json:"heard_at,omitempty"`
	Off      bool          `json:"off"`
	Held     bool          `json:"held"`
	Status   string        `json:"status"`
	Revision int64         `json:"revision"`
	Report   *jsonReport   `json:"report,omitempty"`
	Override *jsonOverride `json:"override,omitempty"`
}

type jsonReport struct {
	Status string     `json:"status"`
	Reason string     `json:"reason"`
	Actor  string     `json:"actor"`
	Time   *time.Time `json:"time,omitempty"`
}

type jsonOverride struct {
	Pattern string     `json:"pattern"`
	Status  string     `json:"status"`
	Reason  string     `json:"reason"`
	Actor   string     `json:"actor"`
	Time    *time.Time `json:"time,omitempty"`
	Expire  *time.Time `json:"expire_time,omitempty"`
}

func (p *page) json() jsonPage {
	out := jsonPage{Time: p.now.UTC(), Ready: p.ready == nil, Silent: p.silent.Seconds(), Services: []jsonService{}}
	out.Refused = p.refused.json()
	if p.silent > 0 && p.why != nil {
		out.Why = p.why.Error()
	}
	if p.ready != nil {
		out.NotReady = p.ready.Error()
	}
	for i := range p.services {
		s := &p.services[i]
		one := jsonService{
			Service: s.Name, Instance: s.Instance, Status: s.Status.String(), Since: known(s.Since), Reasons: s.reasons(p.now), Waiting: s.Waiting,
			Own: s.Own.json(), Checks: s.Checks, Rival: s.rivalText(), Refused: s.Refused.json(),
			Registry: []jsonOpinion{opinionJSON(s.Name, &s.Whole), opinionJSON(s.reportedAs(), &s.Reported)},
		}
		if s.Pushed != nil {
			pushed := s.Pushed.json()
			one.Pushed = &pushed
		}
		if one.Reasons == nil {
			one.Reasons = []string{}
		}
		if one.Checks == nil {
			one.Checks = []checks.Result{}
		}
		out.Services = append(out.Services, one)
	}
	return out
}

func (w *Word) json() jsonWord {
	return jsonWord{Status: w.Status.String(), Reason: w.Reason, Since: known(w.Since)}
}

func opinionJSON(name string, o *view.Opinion) jsonOpinion {
	out := jsonOpinion{Service: name, Heard: o.Heard, HeardAt: known(o.HeardAt), Off: o.Off, Held: o.Held, Status: o.Status.String(), Revision: o.Revision}
	if r := o.Record.GetReport(); r != nil {
		out.Report = &jsonReport{Status: r.GetStatus().String(), Reason: r.GetReason(), Actor: r.GetActor().GetName(), Time: known(timeOf(r.GetTime()))}
	}
	if r := o.Record.GetOverride(); r != nil {
		out.Override = overrideJSON(r)
	}
	return out
}

func overrideJSON(r *rollcallv1.Override) *jsonOverride {
	return &jsonOverride{
		Pattern: r.GetPattern(), Status: r.GetStatus().String(), Reason: r.GetReason(), Actor: r.GetActor().GetName(),
		Time: known(timeOf(r.GetTime())), Expire: known(timeOf(r.GetExpireTime())),
	}
}

// known is a time for JSON; nil, which is left out, if it is not known.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
