// Package resolver lets gRPC channels find the instances of a service in the registry, without a name service and
// with every load balancing policy. A second resolver reaches the registry's own nodes.
//
// Instances are the services named SERVICE/HOST:PORT, which reporters keep alive by a lease (client/healthserver does
// so). A channel to rollcall:///SERVICE gets those that are SERVING:
//
//	instances, err := resolver.New(c) // c is the *client.Client of the registry
//	if err != nil {
//		return err
//	}
//	conn, err := aware.Dial("rollcall:///shop/checkout", "", aware.WithResolver(instances))
//	if err != nil {
//		return err // the target is wrong, for example
//	}
//	defer conn.Close()
//
// or with gRPC alone:
//
//	conn, err := grpc.NewClient("rollcall:///shop/checkout", grpc.WithResolvers(instances),
//		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}`),
//		grpc.WithTransportCredentials(insecure.NewCredentials()))
//
// # What channels get
//
// All instances that are effectively SERVING, overrides included, in the order of their addresses. An instance that
// is switched off, or whose lease expired, is taken out within milliseconds; calls under way on its connection go on
// to their end. If SERVICE itself is NOT_SERVING there are none, and calls fail with UNAVAILABLE. A SERVICE that does
// not exist switches nothing off. Names below SERVICE/ that do not end with HOST:PORT, of one process that others can
// reach, are skipped and counted.
//
// The list trusts what is reported. With a healthCheckConfig each connection asks the instance itself, too, which
// notices an instance that hangs before its lease expires. That is why the lines above have one. (Package aware
// imports google.golang.org/grpc/health; without that import gRPC checks no health.)
//
// The resolvers emit no service config: it would replace that of the channel as a whole.
//
// # When the registry does not answer
//
// The registry is no part of any call. When it falls silent the list stays as it was, for as long as it takes; also
// for a channel that was idle meanwhile, half a second after its first call. The registry is watched at both halves
// of the client's endpoints, so that a node that hangs delays no change.
//
// A channel that starts while the registry cannot be reached: calls wait until all nodes refused the connection, or
// 5 s if they say nothing. Then they fail with UNAVAILABLE, which says why, until the registry answers. Calls with
// grpc.WaitForReady go on waiting.
//
// A list that is empty only because no instance is known is given after 3 s, if it still is: nodes that start, or that
// were suspended, can know nothing for a moment.
//
// # Another cluster
//
// If the registry lost its disks and was founded anew, or was restored from a backup, another cluster answers. As long
// as it does not speak of what the old one said, that holds:
//
//   - instances that were SERVING stay in use, until a minute after the first instances have reported to the new
//     cluster.
//   - an instance that an operator's override switched off stays off until that override would have ended, or until an
//     operator speaks of the instance again, by an override or by a report of SERVING without a lease. That the instance itself
//     reports SERVING does not end it.
//   - if SERVICE was switched off it stays off; see client/view.
//
// # Panic threshold
//
// With WithPanic a channel gets instances that are not SERVING, too, when few are SERVING. The default is off.
// WithPanic says when that does not help.
//
// # Targets
//
// The form is rollcall:///SERVICE, the name as it stands: no escapes, no authority, no query, no fragment.
// grpc.NewClient asks no resolver about a target; what is wrong with it is then the error of each call. aware.Dial
// asks and returns it. With TLS, an instance is checked against SERVICE, unless grpc.WithAuthority or the credentials
// name something else: what reporters write must not decide whom a channel trusts.
//
// # The registry's own nodes
//
// rollcall-nodes:///HOST:PORT,HOST:PORT is for programs that read the registry by gRPC alone. The channel takes turns
// among the nodes that can answer reads, in one line:
//
//	conn, err := aware.Dial("rollcall-nodes:///a:7600,b:7600,c:7600", "rollcall.reads", aware.WithResolver(resolver.NewNodes()))
//
// For writes use package client: it knows which of them may be tried again.
package resolver
