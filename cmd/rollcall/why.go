package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newWhyCommand(a *app) *cobra.Command {
	var flags *readFlags
	cmd := &cobra.Command{
		Use:   "why SERVICE",
		Short: "Say why a service has its status: who decides, what is beneath, which rules cover it",
		Long: `Says in sentences why a service has its status: whether its report or an override decides, who made
it, when, why and until when; what is beneath, and what will show when the override ends; which lease
the report is attached to, how long that has left, and what comes then; and which rules cover the
service, and how many more may stop before each is broken.`,
		Example: `  rollcall why shop/cart
  rollcall why shop/cart -o json`,
		Args:              exactly("SERVICE"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service := args[0]
			if err := checkLookup(service); err != nil {
				return err
			}
			options, err := flags.options()
			if err != nil {
				return err
			}
			if rollcallv1.IsOwn(service) {
				return invalid("%s is a name that nodes answer for themselves: no report, override or rule is about it", format.Service(service))
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.Get(reading(ctx, options), service)
				if err != nil {
					return &attempt{what: "say why " + service + " is as it is", err: err, notFound: `an override makes no service exist; "rollcall list" shows the services`}
				}
				rules, err := c.ListRules(reading(ctx, notBefore(resp, options)))
				if err != nil {
					return doing("list rules", err)
				}
				guard := completeLease(ctx, c, resp, options)
				return a.printWhy(resp, guard, rules.GetRules())
			})
		},
	}
	flags = addReadFlags(cmd)
	return named(cmd)
}

// notBefore are options of a read that shows no older moment than an answer.
func notBefore(resp *rollcallv1.GetServiceResponse, options *client.ReadOptions) *client.ReadOptions {
	var after client.ReadOptions
	if options != nil {
		after = *options
	}
	after.Info = new(client.ReadInfo) // not that of the answer, which may be shown
	after.MinRevision, after.Cluster = max(after.MinRevision, resp.GetRevision()), resp.GetClusterId()
	return &after
}

// whyJSON is the JSON form of the answer.
type whyJSON struct {
	Service  apijson.Message   `json:"service"`
	Next     *nextJSON         `json:"next"` // null: no override decides
	Rules    []apijson.Message `json:"rules"`
	Revision int64             `json:"revision"`
	Cluster  string            `json:"cluster_id"`
}

// nextJSON is what shows when the override ends that decides.
type nextJSON struct {
	Status  string `json:"status"`
	Pattern string `json:"pattern"` // of the override that decides then; "": the report does
}

func (a *app) printWhy(resp *rollcallv1.GetServiceResponse, guard *rollcallv1.LeaseGuard, rules []*rollcallv1.Rule) error {
	rec := resp.GetService()
	return a.print(whyObject(resp, rules), []string{rec.GetService()}, func() error {
		for _, line := range explain.Why(a.now(), rec, guard, rules) {
			if _, err := fmt.Fprintln(a.stdout, line); err != nil {
				return err
			}
		}
		return nil
	})
}

func whyObject(resp *rollcallv1.GetServiceResponse, rules []*rollcallv1.Rule) *whyJSON {
	rec := resp.GetService()
	out := &whyJSON{Service: apijson.Message{Message: rec}, Rules: []apijson.Message{}, Revision: resp.GetRevision(), Cluster: resp.GetClusterId()}
	if next := explain.AfterOverride(rec); next != nil {
		out.Next = &nextJSON{next.Status.String(), next.Override.GetPattern()}
	}
	for _, r := range rules {
		if pattern.Covers(r.GetPattern(), rec.GetService()) {
			out.Rules = append(out.Rules, apijson.Message{Message: r})
		}
	}
	return out
}
