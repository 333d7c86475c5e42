// Package client talks to a Rollcall cluster: to any node of it, and to the next one when that node does not
// answer.
//
// A program that reports a status and then watches it; cfg is [DefaultConfig], with the Endpoints of the cluster:
//
//	c, err := client.New(cfg)
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
//	defer cancel()
//	_, err = c.Set(ctx, "shop/cart", client.Serving, client.WriteOptions{Reason: "deployed 1.4"})
//	switch {
//	case client.IsUnknown(err):
//		return fmt.Errorf("it may have been done: %w", err)
//	case err != nil:
//		return fmt.Errorf("nothing was changed: %w", err)
//	}
//	for u, err := range c.Watch(ctx, "shop/cart") {
//		if err != nil {
//			return err
//		}
//		fmt.Println(u.Service, "is", u.Status)
//		if u.Status == client.Serving {
//			break
//		}
//	}
//	return nil
//
// What belongs here: choosing an endpoint, failing over, saying what became of a write, and watches
// that survive the node they run on. What does not: words for people (cmd/rollcall), and anything that a node
// decides.
//
// # Endpoints
//
// The endpoints have an order, which [New] draws at random, so that the clients of many processes spread over the nodes
// ([Config].KeepOrder: as they are given). A call starts at the endpoint that answered last and goes through the others
// in order. It moves on when a connection fails, when a node refuses what another may do, and when an endpoint has said
// nothing for [Config.AttemptTimeout]. After a round without an answer the client pauses, for 50 ms at first and 1 s at
// most, with jitter, and begins another, until the caller's context ends: give it a deadline. There is one
// exception, so that people at a terminal learn at once that nothing runs: a round in which no endpoint could
// even be connected to ends the call with code UNAVAILABLE and [ReasonNoEndpoint], which names all that were
// tried. (Not a write of unknown outcome, see below.)
//
// A call is hedged: when an endpoint has said nothing for [Config.Hedge] (300 ms), the next one is asked beside it, and
// after the same time the one after that. Connecting counts, so that a stopped process and an address that answers
// nothing cost 300 ms. The first answer that settles the call counts; the others are withdrawn, and later calls start
// where the answer came from. To ask another endpoint costs one of ten tokens, and a call that needed none brings a tenth of
// a token back: so an overloaded cluster, where every answer is late, gets a tenth more calls and not twice as many.
// Calls that wait for an endpoint which another one has outrun cost nothing.
//
// [WithEndpoints] has a call or a watch use some endpoints only, and [Client.Endpoints] returns them all in their
// order: two watches of two halves of them do not depend on one node.
//
// # Outcomes of a write
//
// A write ends in one of three ways.
//
//   - Done: no error. It is on the disks of a majority.
//   - Surely not done: an *[Error] with [WrittenNo]; [IsNotWritten] is true. The request never left this process, or a node refused
//     it, or a node said NOT_WRITTEN (no leader, for example). After the first and the last of these the
//     client itself tries again until the context ends (or, see above, until no endpoint can be connected to).
//   - Unknown: an *[Error] with [WrittenUnknown]; [IsUnknown] is true. The request was sent, and until the context ended nothing
//     came back that proves what became of it.
//
// A try can end without an answer: its connection breaks, its node hangs or loses the leadership, or
// [Config.AttemptTimeout] passes. Such a write is tried again, on the next endpoint, with the same request id,
// until the context ends. A hedge is the same before its time: another try of the request, in the same cluster. A node's
// refusal that is of one try alone, a limit or a permission, does not settle a write while another try may still do it. That is safe for every write, one with IfRevision too: nodes remember how they
// answered a request id, and answer another try of the request the same way, a refusal included, without
// changing anything. It holds even if the first try was slow rather than lost and arrives after the second:
// then it is the one that is only answered.
//
// They remember for ten minutes, and no more than a number of ids that the cluster is configured with
// (250,000). So a write that nobody could answer for is given up 5 minutes after its first try, also if the
// context lasts longer. WrittenUnknown is then for the caller: within what is left of the ten minutes the same
// call with the same [WriteOptions].RequestID has the same effect as one more try. A later one may be done a
// second time, and a caller who must know reads first. A retry that changes anything of the request, the
// reason or the actor for example, is refused with [ReasonRequestIDReused].
//
// # Many writes
//
// Writes that several goroutines make at the same time share a stream to the endpoint ([Config].UnaryWrites: never),
// which costs a fraction of as many calls. Each keeps its own deadline, outcome and retries, as if it were alone.
//
// # Watching
//
// [Client.Watch] gives the current status at once and then, always in the end, the latest one. It may skip
// states in between; it never goes back in time and never repeats a status, also when it moves to another
// node: it carries the revision that it has seen, and a node that is behind it is made to catch up or is
// passed over.
//
// All watches move on when their node goes away or falls silent, which is noticed after 15 s, with a pause of up to
// 50 ms. The pauses grow to 1 s, and to 5 s when no node has served the watch for a minute; each is anything up to
// that, so that the watches of many processes do not come back together. [WithWatchState] tells when a watch hears a
// node and when it does not. A program that must not wait for a node that hangs watches twice, at two halves of
// [Client.Endpoints], and takes the update with the higher Update.AsOf.
//
// # Overrides and safety rules
//
// [Client.SetOverride] has a status shown for all services that a pattern covers, whatever is reported of them,
// until it ends by itself or [Client.ClearOverride] ends it; [Client.Shutdown] and [Client.Resume] do so for the
// whole registry. Every read and watch gives the effective status: that of the override that decides, else the
// reported one. A record names the override that decides, those that it shadows, and what is reported beneath
// them. Update.Revision and IfRevision of a service are those of its report, which an override does not change.
//
// [Client.SetRule] sets a bound that changes must not break. A change that would break rules is refused with
// [ReasonRuleBroken]: [BrokenRules] returns them. Who must break a rule all the same names it in
// [WriteOptions].BreakGlass, and says why; both stay in the history.
//
// # Leases
//
// A report stays until somebody changes it, also when its reporter is dead. A report that is attached to a lease
// turns NOT_SERVING by itself when the lease is not renewed for its TTL ([LeaseOptions] can say something else). [Client.KeepLease]
// does all that a reporter needs:
//
//	lease, err := c.KeepLease(client.LeaseOptions{TTL: 10 * time.Second}, client.KeepOptions{})
//	if err != nil {
//		return err // the options are wrong
//	}
//	defer lease.Close(context.Background()) // its reports turn NOT_SERVING; see OnStop
//	err = lease.Report(ctx, "shop/cart/10.0.0.7:8080", client.Serving, "all checks pass")
//
// The [Lease] is renewed when a third of its TTL has passed, a little earlier or later so that reporters do not
// renew together. When a node has not answered for a sixth of the TTL, another one is asked: so a lease lives on
// when the node that it used dies, hangs or is cut off, and during an election it waits. All Leases of a Client
// share one stream to the node that they use, and a Lease at rest has no goroutine: a process may have ten
// thousand. Close the Leases before the Client.
//
//   - Overdue: the whole TTL has passed since the last renewal that was acknowledged was sent, by a clock that is
//     monotonic and counts the time too in which the machine was suspended. The lease may be lost. A process that
//     must not work while others believe it dead stops here. The Lease says so by [LeaseBecameOverdue].
//   - Lost: the cluster says that the lease has ended. Another one is granted, and the newest report of each
//     service is written anew, in batches. Between the two the services are what [LeaseOptions].OnExpiry says.
//   - A process that is killed says nothing, and the TTL ends its reports.
//
// While a lease lives, changes of its reports that name no lease are refused with [ReasonLeaseHeld]: [IsLeaseHeld]. A
// change that names another live lease takes the report over. A call that names a lease which has ended is
// refused: [IsLeaseLost].
//
// # Who the caller is
//
// [Config].TokenFile, or [Config].Token, gives the token that every call carries; a certificate is one of the
// credentials in [Config].DialOptions. A token is never sent in plain text to another machine. Another token is
// taken from the file within a second, and at once when a node refuses the one before: then the call is made once more
// with it.
//
// A node that refuses the caller has the last word: nothing is tried again, at no other endpoint. [IsUnauthenticated] says
// that nobody knows who calls, [IsDenied] that it is known and not allowed. Watches end with such an error, also in the
// middle. When only what the caller may read has changed they begin anew by themselves; what is not to be read any more
// is then gone for a WatchServices. A Lease tells LeaseFailed and goes on trying, less and less often: its reports end
// with its TTL if nobody mends it before.
//
// Lists and watches leave out what the caller may not read: ReadInfo.Filtered and WatchState.Filtered say so.
//
// [Client.WhoAmI] says who a client is, [Client.CheckAccess] what an identity may do, and the other calls of Access change
// it: [Client.CreateToken], [Client.PutGrants], [Client.PutRole], [Client.SetAuth].
//
// # Another cluster
//
// A cluster that was restored from a backup, or founded anew, on the same addresses is another cluster: it has
// another id, and its revisions and request ids mean something else. The client notices it when all endpoints
// belong to it, or when some do and none has served the old one for 5 s.
//
//   - A Watch goes on with the new cluster and says so by Update.ClusterChanged. A WatchServices does so by
//     ServicesUpdate.Reset, which begins the new cluster's whole state. A WatchEvents ends with
//     [ErrClusterChanged], because the events of the new cluster are another history.
//   - A call that gives a revision (IfRevision, MinRevision, a revision in the past, the next page of a list),
//     and another try of a write whose outcome is unknown, are for one cluster only. Another one refuses them
//     with [ErrClusterChanged]; a write is surely not done there.
//
// The cluster of a revision is the one that [Client.Cluster] returns, unless the call's options name another:
// the one that answered first, until an error or an update has told the caller of another. A program that
// keeps revisions for long, or uses one Client from several goroutines, should keep the cluster with each
// revision (answers carry it) and name it.
//
// # Packages beneath this one
//
//   - client/healthserver: a gRPC server's health service, which operators can switch off, and which reports the process
//   - client/checks: runs health checks and tells what follows from them; client/checks/host: those of the machine
//   - client/view: what the registry last said of some services, in memory, for programs that ask on every call
//   - client/aware: gRPC channels that leave servers which are switched off
//   - client/resolver: the instances of a service, for gRPC channels; client/balancer: a policy that prefers the nearest
//   - client/metrics: what these do, for Prometheus
//
// All of them use a Client and none closes it. A program that stops ends them in this order, as far as it has them:
// Stop of a healthserver.Server, which ends its Run too; the contexts of Run of a checks.Runner and of a view.View, and
// wait until both have returned; Close of the gRPC channels; Close of the Leases; Close of the Client.
package client
