package config

// This file is what a file may hold. The tags are the keys.

type fileLayout struct {
	placed
	Cluster     clusterKeys   `key:"cluster"`
	Instance    text          `key:"instance"`
	TTL         span          `key:"ttl"`
	ForgetAfter span          `key:"forget_after"`
	Listen      listenKeys    `key:"listen"`
	Kubernetes  kubeKeys      `key:"kubernetes"`
	Defaults    timing        `key:"defaults"`
	Services    []serviceKeys `key:"services"`
}

type clusterKeys struct {
	placed
	Endpoints []text `key:"endpoints"`
	CA        texts  `key:"ca"`
	Cert      text   `key:"cert"`
	Key       text   `key:"key"`
	TokenFile text   `key:"token_file"`
}

type listenKeys struct {
	GRPC            text    `key:"grpc"`
	HTTP            text    `key:"http"`
	AllowRemotePush boolean `key:"allow_remote_push"`
}

type kubeKeys struct {
	ServiceAccount text `key:"service_account"`
	PodInfo        text `key:"pod_info"`
}

type timing struct {
	Interval span  `key:"interval"`
	Timeout  span  `key:"timeout"`
	Rise     count `key:"rise"`
	Fall     count `key:"fall"`
}

type serviceKeys struct {
	placed
	Name          text        `key:"name"`
	Instance      text        `key:"instance"`
	OnStop        text        `key:"on_stop"`
	Push          boolean     `key:"push"`
	ReadinessGate text        `key:"readiness_gate"`
	Checks        []checkKeys `key:"checks"`
}

type checkKeys struct {
	placed
	Name text `key:"name"`
	timing
	Critical boolean      `key:"critical"`
	HTTP     *httpKeys    `key:"http"`
	TCP      *tcpKeys     `key:"tcp"`
	GRPC     *grpcKeys    `key:"grpc"`
	DNS      *dnsKeys     `key:"dns"`
	Command  *commandKeys `key:"command"`
	File     *fileKeys    `key:"file"`
	Cert     *certKeys    `key:"cert"`
	Disk     *diskKeys    `key:"disk"`
	Memory   *memoryKeys  `key:"memory"`
	Load     *loadKeys    `key:"load"`
	TTL      *ttlKeys     `key:"ttl"`
}

type httpKeys struct {
	placed
	URL             text    `key:"url"`
	Method          text    `key:"method"`
	Expect          codes   `key:"expect"`
	Body            text    `key:"body"`
	Headers         pairs   `key:"headers"`
	FollowRedirects boolean `key:"follow_redirects"`
}

type tcpKeys struct {
	placed
	Address text `key:"address"`
}

type grpcKeys struct {
	placed
	Target  text `key:"target"`
	Service text `key:"service"`
}

type dnsKeys struct {
	placed
	Host      text   `key:"host"`
	Addresses []text `key:"addresses"`
}

type commandKeys struct {
	placed
	Run []argument `key:"run"`
	Dir text       `key:"dir"`
	Env pairs      `key:"env"`
}

type fileKeys struct {
	placed
	Path   text `key:"path"`
	MaxAge span `key:"max_age"`
}

type certKeys struct {
	placed
	File       text `key:"file"`
	Address    text `key:"address"`
	WarnBefore span `key:"warn_before"`
	FailBefore span `key:"fail_before"`
}

type freeKeys struct {
	WarnPercent number `key:"warn_free_percent"`
	FailPercent number `key:"fail_free_percent"`
	WarnBytes   size   `key:"warn_free_bytes"`
	FailBytes   size   `key:"fail_free_bytes"`
}

type diskKeys struct {
	placed
	Path text `key:"path"`
	freeKeys
}

type memoryKeys struct {
	placed
	freeKeys
}

type loadKeys struct {
	placed
	Warn number `key:"warn"`
	Fail number `key:"fail"`
}

type ttlKeys struct {
	placed
	After span `key:"after"`
}
