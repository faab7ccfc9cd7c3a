{{/* What are the objects called, and which labels do they carry? */}}

{{- define "nodeipam-ctl.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* A Service's name has at most 63 characters, and the longest of ours ends in "-controller-metrics". */}}
{{- define "nodeipam-ctl.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 44 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 44 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 44 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Objects of one program: <fullname>-controller, <fullname>-agent. Takes (list $ "controller"). */}}
{{- define "nodeipam-ctl.program" -}}
{{- printf "%s-%s" (include "nodeipam-ctl.fullname" (index . 0)) (index . 1) }}
{{- end }}

{{- define "nodeipam-ctl.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "nodeipam-ctl.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: nodeipam-ctl
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What a selector holds never changes after the install, so it has neither versions nor the user's labels. */}}
{{- define "nodeipam-ctl.selectorLabels" -}}
app.kubernetes.io/name: {{ include "nodeipam-ctl.name" (index . 0) }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "nodeipam-ctl.programLabels" -}}
{{ include "nodeipam-ctl.labels" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "nodeipam-ctl.serviceAccountName" -}}
{{- $account := (index (index . 0).Values (index . 1)).serviceAccount }}
{{- if $account.create }}
{{- default (include "nodeipam-ctl.program" .) $account.name }}
{{- else }}
{{- default "default" $account.name }}
{{- end }}
{{- end }}
